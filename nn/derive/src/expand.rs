//! From a type's definition to the tokens of its `Module` implementation.
//!
//! Structs and enums go one way: a struct is a `match` with a single arm. The pattern `{ 0: a, .. }` also fits tuple and unit
//! shapes, so no shape needs code of its own.

mod attributes;

use proc_macro2::{Ident, TokenStream, TokenTree};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::ext::IdentExt;
use syn::spanned::Spanned;
use syn::{Data, DeriveInput, Error, Field, Fields, Generics, Member, Path, Result};

use attributes::{FieldAttributes, crate_path};

/// The implementation of `Module` for `input`.
pub(crate) fn expand(input: &DeriveInput) -> Result<TokenStream> {
    let prefix = crate_path(&input.attrs)?;
    let arms = arms(input)?;
    let generics = bounded(&input.generics, &arms, &prefix);
    let (impl_generics, type_generics, where_clause) = generics.split_for_impl();
    let name = &input.ident;
    let visit = matched(&arms, &prefix, &format_ident!("visit"));
    let visit_mut = matched(&arms, &prefix, &format_ident!("visit_mut"));
    Ok(quote! {
        #[automatically_derived]
        impl #impl_generics #prefix::Module for #name #type_generics #where_clause {
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
    })
}

/// One arm of the `match`: the fields of the struct, or of one variant of the enum.
struct Arm<'a> {
    /// `Self`, or `Self::Variant`.
    constructor: TokenStream,
    fields: Vec<VisitedField<'a>>,
}

/// A field that is not skipped.
struct VisitedField<'a> {
    member: Member,
    /// The path segment.
    name: String,
    ty: &'a syn::Type,
}

fn arms(input: &DeriveInput) -> Result<Vec<Arm<'_>>> {
    match &input.data {
        Data::Struct(data) => {
            Ok(vec![Arm { constructor: quote!(Self), fields: visited_fields(&data.fields)? }])
        }
        Data::Enum(data) => collect(data.variants.iter().map(|variant| {
            attributes::none_on_variant(variant)?;
            let ident = &variant.ident;
            let fields = visited_fields(&variant.fields)?;
            Ok(Arm { constructor: quote!(Self::#ident), fields })
        })),
        Data::Union(data) => Err(Error::new(
            data.union_token.span,
            "Module can't be derived for a union: which field holds parameters is not known",
        )),
    }
}

fn visited_fields(fields: &Fields) -> Result<Vec<VisitedField<'_>>> {
    let visited = fields.iter().zip(fields.members()).map(|(f, member)| visited_field(f, member));
    let visited: Vec<_> = collect(visited)?.into_iter().flatten().collect();
    for (index, field) in visited.iter().enumerate() {
        if visited.iter().take(index).any(|other| other.name == field.name) {
            let message = format!("two fields are visited as `{}`", field.name);
            return Err(Error::new(field.member.span(), message));
        }
    }
    Ok(visited)
}

/// `None` if the field is skipped.
fn visited_field(field: &Field, member: Member) -> Result<Option<VisitedField<'_>>> {
    let attributes = FieldAttributes::parse(&field.attrs)?;
    if attributes.skip {
        return Ok(None);
    }
    let name = attributes.rename.unwrap_or_else(|| match &member {
        Member::Named(ident) => ident.unraw().to_string(),
        Member::Unnamed(index) => index.index.to_string(),
    });
    Ok(Some(VisitedField { member, name, ty: &field.ty }))
}

/// The `match` that calls `method` (`visit` or `visit_mut`) on each field of the active arm.
fn matched(arms: &[Arm<'_>], prefix: &Path, method: &Ident) -> TokenStream {
    if arms.is_empty() {
        return quote!(match *self {});
    }
    let arms = arms.iter().map(|Arm { constructor, fields }| {
        let members = fields.iter().map(|field| &field.member);
        let bindings: Vec<_> = (0..fields.len()).map(|i| format_ident!("__field{i}")).collect();
        let visits = fields.iter().zip(&bindings).map(|(field, binding)| {
            let name = &field.name;
            // The span makes "Module is not implemented for X" point at the field's type.
            let visit =
                quote_spanned!(field.ty.span()=> #prefix::Module::#method(#binding, visitor););
            quote!(visitor.enter(#name); #visit visitor.leave();)
        });
        quote!(#constructor { #(#members: #bindings,)* .. } => { #(#visits)* })
    });
    quote!(match self { #(#arms)* })
}

/// `generics` with the bound `Module` on each type parameter that a visited field mentions.
fn bounded(generics: &Generics, arms: &[Arm<'_>], prefix: &Path) -> Generics {
    let mut bounded = generics.clone();
    for parameter in generics.type_params() {
        let ident = &parameter.ident;
        let mut types = arms.iter().flat_map(|arm| &arm.fields).map(|field| field.ty);
        if types.any(|ty| mentions(ty.to_token_stream(), ident)) {
            let predicates = &mut bounded.make_where_clause().predicates;
            predicates.push(syn::parse_quote!(#ident: #prefix::Module));
        }
    }
    bounded
}

fn mentions(tokens: TokenStream, ident: &Ident) -> bool {
    tokens.into_iter().any(|token| match token {
        TokenTree::Ident(found) => found == *ident,
        TokenTree::Group(group) => mentions(group.stream(), ident),
        TokenTree::Punct(_) | TokenTree::Literal(_) => false,
    })
}

/// All values, or all errors as one, so that the compiler shows every mistake at once.
fn collect<T>(results: impl Iterator<Item = Result<T>>) -> Result<Vec<T>> {
    let mut values = Vec::new();
    let mut errors: Option<Error> = None;
    for result in results {
        match (result, &mut errors) {
            (Ok(value), _) => values.push(value),
            (Err(error), Some(first)) => first.combine(error),
            (Err(error), None) => errors = Some(error),
        }
    }
    errors.map_or(Ok(values), Err)
}

#[cfg(test)]
mod tests;
