//! The attribute `report_errors`. `event-proxy-client` re-exports and documents the attribute.

mod arguments;
mod expand;

use proc_macro::TokenStream;

#[proc_macro_attribute]
pub fn report_errors(arguments: TokenStream, item: TokenStream) -> TokenStream {
    expand::expand(arguments.into(), item.into()).unwrap_or_else(syn::Error::into_compile_error).into()
}
