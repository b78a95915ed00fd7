//! The function with a wrapped body. Generated names have the span `mixed_site`: the function's own code can't see
//! them.

use proc_macro2::{Span, TokenStream};
use quote::{quote, quote_spanned};
use syn::spanned::Spanned;
use syn::visit_mut::{VisitMut, visit_type_mut};
use syn::{Error, ItemFn, Result, ReturnType, Type, parse_quote};

use crate::arguments::Arguments;

pub(crate) fn expand(arguments: TokenStream, item: TokenStream) -> Result<TokenStream> {
    let arguments: Arguments = syn::parse2(arguments)?;
    let mut function: ItemFn = syn::parse2(item)
        .map_err(|error| Error::new(error.span(), "`report_errors` goes on a function with a body"))?;
    let ReturnType::Type(_, output) = &function.sig.output else {
        return Err(Error::new(function.sig.ident.span(), "`report_errors` needs a function that returns a `Result`"));
    };
    if let Some(constness) = &function.sig.constness {
        return Err(Error::new(constness.span(), "`report_errors` can't go on a const function"));
    }
    let report = report(&arguments, &function);
    let result = result(&function, output);
    // here the compiler says what is wrong with a return type
    let error_of = quote_spanned!(output.span()=> ::event_proxy_client::__private::error_of);
    *function.block = syn::parse2(quote_spanned!(Span::mixed_site()=> {
        #report
        #result
        if let (::core::option::Option::Some(report), ::core::option::Option::Some(error)) = (report, #error_of(&result)) {
            #[allow(unused_imports)] // which of these describes the error depends on its type; the others are not used
            use ::event_proxy_client::__private::{ByDyn as _, ByDynSync as _, ByError as _, ByNothing as _, ByText as _};
            report.send((&&&&&::event_proxy_client::__private::Probe(error)).describe());
        }
        result
    }))?;
    Ok(quote!(#function))
}

/// Returns `let report = …;`, with the data known before the body runs.
fn report(arguments: &Arguments, function: &ItemFn) -> TokenStream {
    let Arguments { service, kind, key, fields } = arguments;
    let name = &function.sig.ident;
    let text = name.to_string();
    let line = quote_spanned!(name.span()=> ::core::line!());
    let service = service.iter();
    let key = key.iter();
    let (names, values): (Vec<_>, Vec<_>) = fields.iter().map(|field| (field.name.to_string(), &field.value)).unzip();
    quote_spanned! {Span::mixed_site()=>
        let report = match ::event_proxy_client::__private::installed() {
            ::core::option::Option::Some(proxy) => ::core::option::Option::Some(
                ::event_proxy_client::__private::Report::new(proxy, #kind, ::event_proxy_client::__private::Site {
                    function: #text,
                    module: ::core::module_path!(),
                    file: ::core::file!(),
                    line: #line,
                })
                #(.service(#service))*
                #(.key(&(#key)))*
                #(.field(#names, &(#values)))*
            ),
            ::core::option::Option::None => ::core::option::Option::None,
        };
    }
}

/// `let result = …;`, whichever way the body returns.
fn result(function: &ItemFn, output: &Type) -> TokenStream {
    // spliced, for braces in braces would be warned of
    let body = &function.block.stmts;
    let mut output = output.clone();
    Nameable.visit_type_mut(&mut output);
    if function.sig.asyncness.is_some() {
        return quote_spanned! {Span::mixed_site()=>
            let result = async move {
                // an async block can't be given a type otherwise
                #[allow(unreachable_code, clippy::all)]
                if false {
                    return ::event_proxy_client::__private::unreachable::<#output>();
                }
                #(#body)*
            }
            .await;
        };
    }
    quote_spanned! {Span::mixed_site()=>
        let result = ::event_proxy_client::__private::call(move || -> #output { #(#body)* });
    }
}

/// Replaces `impl Trait`, a type without a name outside of a signature, by an inferred type.
struct Nameable;

impl VisitMut for Nameable {
    fn visit_type_mut(&mut self, output: &mut Type) {
        match output {
            Type::ImplTrait(_) => *output = parse_quote!(_),
            _ => visit_type_mut(self, output),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(arguments: TokenStream, item: TokenStream) -> String {
        expand(arguments, item).unwrap_err().to_string()
    }

    #[test]
    fn arguments_that_cannot_be_used_are_named() {
        let cases = [
            (quote!(), "`type = \"…\"` is missing"),
            (quote!(service = "order"), "`type = \"…\"` is missing"),
            (quote!(type = "a.b"), "must be 1 to 64 of letters, digits, `_` and `-`"),
            (quote!(type = "a", service = ""), "must be 1 to 64 of letters, digits, `_` and `-`"),
            (quote!(type = kind), "expected string literal"),
            (quote!(type = "a", type = "b"), "`type` is there twice"),
            (
                quote!(type = "a", level = "warn"),
                "no argument `level`: there are `type`, `service`, `key` and `fields(…)`",
            ),
            (quote!(type = "a" key = b), "expected `,`"),
        ];
        for (arguments, reason) in cases {
            assert_eq!(
                refusal(
                    arguments,
                    quote!(
                        fn pay() -> Result<(), String> {
                            Ok(())
                        }
                    )
                ),
                reason
            );
        }
    }

    #[test]
    fn it_goes_on_functions_that_return_something() {
        let cases = [
            (
                quote!(
                    struct Payment;
                ),
                "`report_errors` goes on a function with a body",
            ),
            (
                quote!(
                    fn pay() -> Result<(), String>;
                ),
                "`report_errors` goes on a function with a body",
            ),
            (
                quote!(
                    fn pay() {}
                ),
                "`report_errors` needs a function that returns a `Result`",
            ),
            (
                quote!(
                    const fn pay() -> Result<(), String> {
                        Ok(())
                    }
                ),
                "`report_errors` can't go on a const function",
            ),
        ];
        for (item, reason) in cases {
            assert_eq!(refusal(quote!(type = "payment-failed"), item), reason);
        }
    }
}
