//! The derived implementation at work, on a stand-in for the trait of `ferrotape::nn`.

use ferrotape_nn_derive::Module;

/// Stands for a parameter: a leaf that reports its value.
struct Leaf(i32);

trait Module {
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>);
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut);
}

trait Visitor<'a> {
    fn enter(&mut self, name: &str);
    fn leave(&mut self);
    fn module(&mut self, type_name: &'static str) {
        let _ = type_name;
    }
    fn leaf(&mut self, leaf: &'a Leaf);
}

trait VisitorMut {
    fn enter(&mut self, name: &str);
    fn leave(&mut self);
    fn leaf(&mut self, leaf: &mut Leaf);
}

impl Module for Leaf {
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        visitor.leaf(self);
    }
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        visitor.leaf(self);
    }
}

impl<M: Module> Module for Vec<M> {
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        for (index, module) in self.iter().enumerate() {
            visitor.enter(&index.to_string());
            module.visit(visitor);
            visitor.leave();
        }
    }
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        for (index, module) in self.iter_mut().enumerate() {
            visitor.enter(&index.to_string());
            module.visit_mut(visitor);
            visitor.leave();
        }
    }
}

/// Lists the path of every leaf, and keeps the leaves: `'a` must outlive the visit.
#[derive(Default)]
struct Paths<'a> {
    segments: Vec<String>,
    paths: Vec<String>,
    leaves: Vec<&'a Leaf>,
}

impl<'a> Visitor<'a> for Paths<'a> {
    fn enter(&mut self, name: &str) {
        self.segments.push(name.to_owned());
    }
    fn leave(&mut self) {
        self.segments.pop();
    }
    fn leaf(&mut self, leaf: &'a Leaf) {
        self.paths.push(self.segments.join("."));
        self.leaves.push(leaf);
    }
}

struct Negate;

impl VisitorMut for Negate {
    fn enter(&mut self, _name: &str) {}
    fn leave(&mut self) {}
    fn leaf(&mut self, leaf: &mut Leaf) {
        leaf.0 = -leaf.0;
    }
}

#[derive(Module)]
#[module(crate = crate)]
struct Linear {
    weight: Leaf,
    bias: Leaf,
}

fn linear(value: i32) -> Linear {
    Linear { weight: Leaf(value), bias: Leaf(value + 1) }
}

#[derive(Module)]
#[module(crate = self)]
enum Block<'n, M> {
    Plain(M),
    Gated {
        gate: M,
        #[module(skip)]
        name: &'n str,
    },
    Identity,
}

#[derive(Module)]
#[module(crate = crate)]
struct Network<'n, M, Skipped> {
    blocks: Vec<Block<'n, M>>,
    #[module(rename = "head")]
    output: (Leaf,),
    #[module(skip)]
    skipped: Skipped,
    visitor: Unit,
}

#[derive(Module)]
#[module(crate = crate)]
struct Unit;

#[derive(Module)]
#[module(crate = crate)]
#[allow(dead_code)]
enum Never {}

impl Module for (Leaf,) {
    fn visit<'a>(&'a self, visitor: &mut dyn Visitor<'a>) {
        self.0.visit(visitor);
    }
    fn visit_mut(&mut self, visitor: &mut dyn VisitorMut) {
        self.0.visit_mut(visitor);
    }
}

#[test]
fn paths_are_those_of_a_state_dict() {
    let blocks = vec![
        Block::Plain(linear(1)),
        Block::Identity,
        Block::Gated { gate: linear(3), name: "gate" },
    ];
    // `NoModule` shows that a skipped field's type is not bounded.
    struct NoModule;
    let mut network = Network { blocks, output: (Leaf(5),), skipped: NoModule, visitor: Unit };
    let NoModule = network.skipped;

    network.visit_mut(&mut Negate);
    let mut visitor = Paths::default();
    network.visit(&mut visitor);

    let expected = [
        "blocks.0.0.weight",
        "blocks.0.0.bias",
        "blocks.2.gate.weight",
        "blocks.2.gate.bias",
        "head",
    ];
    assert_eq!(visitor.paths, expected);
    assert_eq!(visitor.leaves.iter().map(|leaf| leaf.0).collect::<Vec<_>>(), [-1, -2, -3, -4, -5]);
    assert!(visitor.segments.is_empty());
    let Some(Block::Gated { name, .. }) = network.blocks.last() else { panic!("a gated block") };
    assert_eq!(*name, "gate");
}

#[test]
fn a_derived_module_is_object_safe() {
    let boxed: Box<dyn Module> = Box::new(linear(7));
    let mut visitor = Paths::default();
    boxed.visit(&mut visitor);
    assert_eq!(visitor.paths, ["weight", "bias"]);
}
