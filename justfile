# Commands of a contributor. `just` without a name lists them; CONTRIBUTING.md has the loop of change.

set positional-arguments

tools := quote(justfile_directory() / "target/tools")

# list the recipes
_default:
    @just --list --unsorted

# start the shop on http://127.0.0.1:8080; words after `dev` go to the program: `just dev check-config`
dev *arguments:
    cargo run -- "$@"

# install the linters of scripts/requirements-lint.txt into target/tools
_tools:
    @[ {{ tools }}/installed -nt scripts/requirements-lint.txt ] || { python3 -m venv {{ tools }} && \
        {{ tools }}/bin/pip install --quiet -r scripts/requirements-lint.txt && touch {{ tools }}/installed; }

# format Rust and Python
fmt: _tools
    cargo fmt --all
    cd scripts && {{ tools }}/bin/ruff check --fix && {{ tools }}/bin/ruff format

# check the format, lints and docs; runs no test
check: _tools
    cargo fmt --all --check
    cargo clippy --locked --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps
    cd scripts && {{ tools }}/bin/ruff check && {{ tools }}/bin/ruff format --check && {{ tools }}/bin/mypy
    scripts/check prose
    scripts/check promises docs/reliability.md
    scripts/check toolchain
    scripts/check schemas {{ tools }}/bin

# run the checks and tests that need no server
quick:
    scripts/test --quick

# run all tests, or some groups: `just test --only shop proxy`
test *options:
    scripts/test "$@"

# run the whole system on this machine: `just cluster up`, `status`, `logs settlement-1`, `down`
cluster +command:
    scripts/cluster "$@"

# measure against limits of this machine: `just bench`, `just bench proxy`, `just bench --only coupon`
bench *options:
    scripts/bench "$@"

# build the documentation of all crates and open a browser
docs:
    cargo doc --locked --workspace --no-deps --open

# write the files that are generated from code and from deploy/programs.toml
generate:
    scripts/generate
    GOLDEN=write cargo test --locked -p consumers catalogue
    GOLDEN=write cargo test --locked -p contracts payloads
    scripts/check prose --update

# check licences, duplicate versions and sources of the libraries; words after `deny` replace these checks: `advisories`
deny *checks="bans licenses sources": _tools
    {{ tools }}/bin/cargo-deny --locked check {{ checks }}
