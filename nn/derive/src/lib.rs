//! The derive macro of ferrotape's `Module`: visits a type's parameters, buffers and submodules by field name.
//!
//! Use it through the facade, `use ferrotape::nn::Module;` brings the trait and this macro:
//!
//! ```text
//! #[derive(Module)]
//! struct Classifier {
//!     fc1: Linear,                    // "fc1.weight", "fc1.bias"
//!     blocks: Vec<Block>,             // "blocks.0.weight", ...
//!     #[module(rename = "head")]
//!     output: Option<Linear>,         // "head.weight", ... if it is there
//!     #[module(skip)]
//!     activation: Activation,         // no part of the state
//! }
//! ```

#![forbid(unsafe_code)]

mod expand;

use proc_macro::TokenStream;
use syn::{DeriveInput, parse_macro_input};

/// Implements `Module` by visiting every field in order of declaration.
///
/// - The name of a field is its path segment; fields of a tuple struct are `0`, `1`, ..
/// - Of an enum, the fields of the active variant are visited; the variant adds no segment.
/// - `#[module(skip)]` on a field leaves it out; its type need not be a `Module`.
/// - `#[module(rename = "...")]` on a field sets its path segment.
/// - `#[module(crate = some::path)]` on the type names where `Module`, `Visitor` and `VisitorMut` are found; without it,
///   `::ferrotape::nn`.
///
/// A type parameter gets the bound `Module` if a visited field mentions it.
#[proc_macro_derive(Module, attributes(module))]
pub fn derive_module(input: TokenStream) -> TokenStream {
    let input = parse_macro_input!(input as DeriveInput);
    expand::expand(&input).unwrap_or_else(syn::Error::into_compile_error).into()
}
