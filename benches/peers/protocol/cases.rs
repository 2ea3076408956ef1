//! What the names of cases say; `parts` in cases.py is the same for Python.

/// A case by its family.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Case<'a> {
    /// `OP/COUNT`: an operation, or a chain, on vectors.
    Vectors(&'a str, usize),
    /// `OP/ROWSxCOLUMNS`.
    Rows(&'a str, [usize; 2]),
    /// `OP/nograd`, or `OP/grad_xTIMES`: so many, tracked.
    Tiny(&'a str, Option<usize>),
    /// `OP_fwd/..` or `OP_fwdbwd/..`: sizes of the images, and of the filters (count, width, padding); whether backward, too.
    Images(&'a str, Vec<usize>, bool),
    /// `NETWORK/WHAT_bBATCH`: `train` or `infer`.
    Network(&'a str, &'a str, usize),
}

impl<'a> Case<'a> {
    /// Of a name; `None` if it is of no family.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (family, rest) = name.split_once('/')?;
        if let Some((op, passes @ ("fwd" | "fwdbwd"))) = family.split_once('_') {
            let digits = rest.split(|letter: char| !letter.is_ascii_digit());
            let sizes = digits.filter(|digits| !digits.is_empty()).map(str::parse);
            return Some(Case::Images(
                op,
                sizes.collect::<Result<_, _>>().ok()?,
                passes == "fwdbwd",
            ));
        }
        if rest == "nograd" {
            return Some(Case::Tiny(family, None));
        }
        if let Some(times) = rest.strip_prefix("grad_x") {
            return Some(Case::Tiny(family, Some(times.parse().ok()?)));
        }
        if let Some((what, batch)) = rest.split_once("_b") {
            return Some(Case::Network(family, what, batch.parse().ok()?));
        }
        if let Some((rows, columns)) = rest.split_once('x') {
            return Some(Case::Rows(family, [rows.parse().ok()?, columns.parse().ok()?]));
        }
        Some(Case::Vectors(family, rest.parse::<f64>().ok()? as usize))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_to_do() {
        let conv = Case::Images("conv", vec![8, 256, 14, 14, 64, 1, 0], true);
        let names = [
            ("chain_tanh_xwb/1e7", Case::Vectors("chain_tanh_xwb", 10_000_000)),
            ("softmax/1024x512", Case::Rows("softmax", [1024, 512])),
            ("matmul_4x4/nograd", Case::Tiny("matmul_4x4", None)),
            ("add_1/grad_x100", Case::Tiny("add_1", Some(100))),
            ("conv_fwdbwd/8x256x14x14_o64_k1_p0", conv),
            ("maxpool2_fwd/64x32x28x28", Case::Images("maxpool2", vec![64, 32, 28, 28], false)),
            ("mnist_cnn/infer_b64", Case::Network("mnist_cnn", "infer", 64)),
        ];
        for (name, case) in names {
            assert_eq!(Case::parse(name), Some(case), "{name}");
        }
        assert_eq!(Case::parse("sgemm/NN/1x2x3"), None);
    }
}
