//! What `#[module(..)]` may say on a type and on a field.

use syn::{Attribute, Error, LitStr, Path, Result, Variant, parse_quote};

/// What a field's `#[module(..)]` asks for.
#[derive(Default)]
pub(super) struct FieldAttributes {
    pub(super) skip: bool,
    pub(super) rename: Option<String>,
}

impl FieldAttributes {
    pub(super) fn parse(attributes: &[Attribute]) -> Result<Self> {
        let mut parsed = FieldAttributes::default();
        for attribute in ours(attributes) {
            attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("skip") {
                    parsed.skip = true;
                } else if meta.path.is_ident("rename") {
                    parsed.rename = Some(segment(&meta.value()?.parse()?)?);
                } else {
                    return Err(meta.error("expected `skip` or `rename = \"...\"`"));
                }
                if parsed.skip && parsed.rename.is_some() {
                    return Err(
                        meta.error("a skipped field has no name: `skip` or `rename`, not both")
                    );
                }
                Ok(())
            })?;
        }
        Ok(parsed)
    }
}

/// Where the trait lives: `#[module(crate = path)]`, or `::ferrotape::nn`.
pub(super) fn crate_path(attributes: &[Attribute]) -> Result<Path> {
    let mut path = parse_quote!(::ferrotape::nn);
    for attribute in ours(attributes) {
        attribute.parse_nested_meta(|meta| {
            if !meta.path.is_ident("crate") {
                return Err(meta.error("expected `crate = path`"));
            }
            path = meta.value()?.call(Path::parse_mod_style)?;
            Ok(())
        })?;
    }
    Ok(path)
}

/// A variant adds no path segment, so there is nothing to say about it.
pub(super) fn none_on_variant(variant: &Variant) -> Result<()> {
    match ours(&variant.attrs).next() {
        Some(attribute) => Err(Error::new_spanned(
            attribute,
            "`module` has no meaning on a variant: put it on its fields",
        )),
        None => Ok(()),
    }
}

/// Dots join segments, so a dot or nothing in one would make two paths collide.
fn segment(literal: &LitStr) -> Result<String> {
    let name = literal.value();
    if name.is_empty() || name.contains('.') {
        return Err(Error::new(
            literal.span(),
            "a name must not be empty and must not contain a dot",
        ));
    }
    Ok(name)
}

fn ours(attributes: &[Attribute]) -> impl Iterator<Item = &Attribute> {
    attributes.iter().filter(|attribute| attribute.path().is_ident("module"))
}
