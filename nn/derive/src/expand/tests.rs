//! The tokens that `expand` emits, and the mistakes that it refuses.

use proc_macro2::TokenStream;
use quote::quote;
use syn::parse2;

use super::expand;

/// The bodies of `visit` and the header of the implementation, as `expand` emits them for `input`.
fn check(input: TokenStream, header: TokenStream, visit: TokenStream) {
    let prefix = quote!(::ferrotape::nn);
    check_at(prefix, input, header, visit);
}

fn check_at(prefix: TokenStream, input: TokenStream, header: TokenStream, visit: TokenStream) {
    let visit_mut: TokenStream =
        visit.to_string().replace("Module :: visit (", "Module :: visit_mut (").parse().unwrap();
    let expected = quote! {
        #[automatically_derived]
        #header {
            #[allow(unused_variables, deprecated)]
            fn visit<'__visit>(&'__visit self, visitor: &mut dyn #prefix::Visitor<'__visit>) {
                visitor.module(::core::any::type_name::<Self>());
                #visit
            }
            #[allow(unused_variables, deprecated)]
            fn visit_mut(&mut self, visitor: &mut dyn #prefix::VisitorMut) {
                #visit_mut
            }
        }
    };
    let emitted = expand(&parse2(input).unwrap()).unwrap();
    assert_eq!(emitted.to_string(), expected.to_string());
}

fn check_error(input: TokenStream, messages: &[&str]) {
    let error = expand(&parse2(input).unwrap()).unwrap_err();
    let found: Vec<String> = error.into_iter().map(|error| error.to_string()).collect();
    assert_eq!(found, messages);
}

#[test]
fn named_fields_in_order_of_declaration() {
    check(
        quote!(
            struct Net {
                conv1: Conv2d,
                #[module(skip)]
                rate: f64,
                r#type: Linear,
            }
        ),
        quote!(impl ::ferrotape::nn::Module for Net),
        quote!(match self {
            Self { conv1: __field0, r#type: __field1, .. } => {
                visitor.enter("conv1");
                ::ferrotape::nn::Module::visit(__field0, visitor);
                visitor.leave();
                visitor.enter("type");
                ::ferrotape::nn::Module::visit(__field1, visitor);
                visitor.leave();
            }
        }),
    );
}

#[test]
fn tuple_fields_keep_their_index() {
    check(
        quote!(
            struct Pair(#[module(skip)] u8, Linear);
        ),
        quote!(impl ::ferrotape::nn::Module for Pair),
        quote!(match self {
            Self { 1: __field0, .. } => {
                visitor.enter("1");
                ::ferrotape::nn::Module::visit(__field0, visitor);
                visitor.leave();
            }
        }),
    );
}

#[test]
fn unit_struct_and_empty_enum_visit_nothing() {
    let header = |name: TokenStream| quote!(impl ::ferrotape::nn::Module for #name);
    check(
        quote!(
            struct Relu;
        ),
        header(quote!(Relu)),
        quote!(match self {
            Self { .. } => {}
        }),
    );
    check(
        quote!(
            enum Never {}
        ),
        header(quote!(Never)),
        quote!(match *self {}),
    );
}

#[test]
fn variants_add_no_segment() {
    check(
        quote!(
            enum Block {
                Plain(Linear),
                Gated { gate: Linear },
                Identity,
            }
        ),
        quote!(impl ::ferrotape::nn::Module for Block),
        quote!(match self {
            Self::Plain { 0: __field0, .. } => {
                visitor.enter("0");
                ::ferrotape::nn::Module::visit(__field0, visitor);
                visitor.leave();
            }
            Self::Gated { gate: __field0, .. } => {
                visitor.enter("gate");
                ::ferrotape::nn::Module::visit(__field0, visitor);
                visitor.leave();
            }
            Self::Identity { .. } => {}
        }),
    );
}

#[test]
fn only_visited_type_parameters_are_bounded() {
    check(
        quote!(
            struct Net<'a, M: Clone, S, const N: usize>
            where
                S: Copy,
            {
                layers: Vec<Option<M>>,
                #[module(skip)]
                label: &'a [S; N],
            }
        ),
        quote!(
            impl<'a, M: Clone, S, const N: usize> ::ferrotape::nn::Module for Net<'a, M, S, N>
            where S: Copy, M: ::ferrotape::nn::Module
        ),
        quote!(match self {
            Self { layers: __field0, .. } => {
                visitor.enter("layers");
                ::ferrotape::nn::Module::visit(__field0, visitor);
                visitor.leave();
            }
        }),
    );
}

#[test]
fn crate_path_and_rename() {
    check_at(
        quote!(crate::module),
        quote!(
            #[module(crate = crate::module)]
            struct Net {
                #[module(rename = "head")]
                output: Linear,
            }
        ),
        quote!(impl crate::module::Module for Net),
        quote!(match self {
            Self { output: __field0, .. } => {
                visitor.enter("head");
                crate::module::Module::visit(__field0, visitor);
                visitor.leave();
            }
        }),
    );
}

#[test]
fn mistakes_are_errors() {
    check_error(
        quote!(union Bits { a: u8 }),
        &["Module can't be derived for a union: which field holds parameters is not known"],
    );
    check_error(
        quote!(
            #[module(skip)]
            struct Net;
        ),
        &["expected `crate = path`"],
    );
    check_error(
        quote!(
            struct Net {
                #[module(frozen)]
                a: Linear,
                #[module(rename = "b.c")]
                b: Linear,
            }
        ),
        &[
            "expected `skip` or `rename = \"...\"`",
            "a name must not be empty and must not contain a dot",
        ],
    );
    check_error(
        quote!(
            struct Net {
                #[module(skip, rename = "b")]
                a: Linear,
            }
        ),
        &["a skipped field has no name: `skip` or `rename`, not both"],
    );
    check_error(
        quote!(
            struct Net {
                a: Linear,
                #[module(rename = "a")]
                b: Linear,
            }
        ),
        &["two fields are visited as `a`"],
    );
    check_error(
        quote!(
            enum Block {
                #[module(rename = "x")]
                Plain(Linear),
            }
        ),
        &["`module` has no meaning on a variant: put it on its fields"],
    );
    check_error(
        quote!(
            struct Net {
                #[module]
                a: Linear,
            }
        ),
        &["expected attribute arguments in parentheses: #[module(...)]"],
    );
    check_error(
        quote!(
            struct Net {
                #[module(rename)]
                a: Linear,
            }
        ),
        &["expected `=`"],
    );
}
