//! Holds the layout of the repository: what ARCHITECTURE.md and CONTRIBUTING.md promise about its files.

use std::fs;
use std::path::{Path, PathBuf};

const MAX_LINES: usize = 500;
const MAX_BYTES: u64 = 10 << 20;

/// The crates, each with what it has never heard of.
const LAYERS: [(&str, &[&str]); 5] = [
    ("kernels/", &["ferrotape", "ferrotape_tensor", "ferrotape_autograd", "ferrotape_nn"]),
    ("tensor/", &["ferrotape", "ferrotape_autograd", "ferrotape_nn", "Tape"]),
    ("autograd/", &["ferrotape", "ferrotape_kernels", "ferrotape_nn"]),
    ("nn/src/", &["ferrotape_kernels"]),
    ("nn/Cargo.toml", &["ferrotape_kernels"]),
];

/// A file of the repository; `path` is relative to its root, with `/`.
struct Source {
    path: String,
    text: String,
}

impl Source {
    /// The text without comments and literals, line by line, numbered from 1.
    fn code(&self) -> Vec<(usize, String)> {
        let code = if self.path.ends_with(".rs") { code_of(&self.text) } else { self.text.clone() };
        code.lines().map(str::to_owned).enumerate().map(|(i, line)| (i + 1, line)).collect()
    }

    /// The code that ships: without unit tests.
    fn shipped(&self) -> Vec<(usize, String)> {
        if self.path.contains("/tests") || self.path.starts_with("tests/") {
            return Vec::new();
        }
        let mut code = self.code();
        let inline = code.windows(2).position(|pair| {
            pair[0].1.trim() == "#[cfg(test)]" && pair[1].1.trim_start().starts_with("mod tests {")
        });
        code.truncate(inline.unwrap_or(code.len()));
        code
    }

    /// Where a line fulfils `wrong`, as `path:line: text`.
    fn lines_where(&self, code: Vec<(usize, String)>, wrong: impl Fn(&str) -> bool) -> Vec<String> {
        let wrong = code.into_iter().filter(|(_, line)| wrong(line));
        wrong.map(|(number, line)| format!("{}:{number}: {}", self.path, line.trim())).collect()
    }
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every file of the repository, build outputs and hidden folders apart.
fn files() -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut folders = vec![root().to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                let hidden = name.starts_with('.') && name != ".ci";
                if !hidden && name != "runs" && !path.join("CACHEDIR.TAG").exists() {
                    folders.push(path);
                }
            } else {
                files.push(path);
            }
        }
    }
    files.sort();
    files
}

fn sources(extension: &str) -> Vec<Source> {
    let mut files = files();
    files.retain(|path| path.extension().is_some_and(|found| found == extension));
    let source = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        let path = path.strip_prefix(root()).unwrap().to_string_lossy().replace('\\', "/");
        Source { path, text }
    };
    files.into_iter().map(source).collect()
}

/// Fails with all `violations` of `rule`.
fn check(rule: &str, violations: Vec<String>) {
    assert!(violations.is_empty(), "{rule}:\n{}\n", violations.join("\n"));
}

/// Where a line of the code of the `.rs` files fulfils `wrong`; files that `exempt` holds for are left out.
fn check_code(rule: &str, exempt: impl Fn(&str) -> bool, wrong: impl Fn(&str) -> bool) {
    let sources = sources("rs").into_iter().filter(|source| !exempt(&source.path));
    check(rule, sources.flat_map(|source| source.lines_where(source.code(), &wrong)).collect());
}

#[test]
fn every_source_says_what_it_is() {
    let silent = sources("rs").into_iter().filter(|source| !source.text.starts_with("//!"));
    check(
        "the first line starts with //!",
        silent.map(|source| format!("{}:1", source.path)).collect(),
    );
}

#[test]
fn no_source_is_long() {
    let length = |source: &Source| source.shipped().len();
    let long = sources("rs").into_iter().filter(|source| length(source) > MAX_LINES);
    let rule = format!("at most {MAX_LINES} lines, unit tests apart");
    check(&rule, long.map(|source| format!("{}:{}", source.path, length(&source))).collect());
}

#[test]
fn no_module_hides_in_mod_rs() {
    let hidden =
        sources("rs").into_iter().filter(|source| source.path.rsplit('/').next() == Some("mod.rs"));
    check("foo.rs beside foo/, no foo/mod.rs", hidden.map(|source| source.path + ":1").collect());
}

#[test]
fn nothing_is_left_undone() {
    check_code(
        "no todo!, unimplemented!, #[ignore]",
        |_| false,
        |line| ["todo!", "unimplemented!", "#[ignore"].iter().any(|mark| line.contains(mark)),
    );
}

#[test]
fn unsafe_lives_in_kernels() {
    check_code(
        "unsafe only in kernels/",
        |path| path.starts_with("kernels/"),
        |line| words(line).any(|word| word == "unsafe"),
    );
    let libraries = ["src/", "tensor/src/", "autograd/src/", "nn/src/", "nn/derive/src/"];
    let libraries = libraries.map(|folder| format!("{folder}lib.rs"));
    let open = sources("rs").into_iter().filter(|source| {
        libraries.contains(&source.path) && !source.text.contains("#![forbid(unsafe_code)]")
    });
    check("#![forbid(unsafe_code)]", open.map(|source| source.path + ":1").collect());
}

#[test]
fn no_layer_names_a_higher_one() {
    let mut violations = Vec::new();
    for source in sources("rs").into_iter().chain(sources("toml")) {
        for (folder, unknown) in LAYERS {
            if source.path.starts_with(folder) {
                let names_it = |line: &str| {
                    let line = line.replace("ferrotape-", "ferrotape_");
                    // In a manifest, dependencies are keys and headers; values may say anything.
                    let manifest = source.path.ends_with(".toml") && !line.starts_with('[');
                    words(&line)
                        .take(if manifest { 1 } else { usize::MAX })
                        .any(|word| unknown.contains(&word))
                };
                violations.extend(source.lines_where(source.code(), names_it));
            }
        }
    }
    check("kernels <- tensor <- autograd <- nn <- facade, never back, never around", violations);
}

#[test]
fn layers_never_name_a_gradient() {
    let mut violations = Vec::new();
    for source in sources("rs") {
        if source.path.starts_with("nn/src/layers") {
            let differentiates = |line: &str| {
                words(line).flat_map(parts).any(|part| part.starts_with("grad") || part == "tape")
            };
            violations.extend(source.lines_where(source.shipped(), differentiates));
        }
    }
    check("a layer never names a gradient or a tape", violations);
}

#[test]
fn one_place_detects_the_cpu() {
    check_code(
        "only kernels/src/cpu/isa.rs asks what the CPU has",
        |path| path == "kernels/src/cpu/isa.rs",
        |line| words(line).any(|word| word == "is_x86_feature_detected"),
    );
}

#[test]
fn one_place_in_kernels_makes_threads() {
    let mut violations = Vec::new();
    for source in sources("rs") {
        let kernels = source.path.starts_with("kernels/src/");
        if kernels && !source.path.starts_with("kernels/src/cpu/parallel") {
            let code = source.shipped();
            violations.extend(source.lines_where(code, |line| {
                ["std::thread", "thread::spawn", "thread::scope"]
                    .iter()
                    .any(|name| line.contains(name))
            }));
        }
    }
    check("only kernels/src/cpu/parallel names std::thread", violations);
}

#[test]
fn no_file_is_large() {
    let large = files().into_iter().filter(|path| fs::metadata(path).unwrap().len() > MAX_BYTES);
    check("no file over 10 MB", large.map(|path| path.display().to_string()).collect());
}

#[test]
fn links_lead_somewhere() {
    let mut violations = Vec::new();
    for source in sources("md") {
        let folder = root().join(&source.path);
        let folder = folder.parent().unwrap();
        for (number, link) in links(&source.text) {
            let file = link.split('#').next().unwrap();
            let outside = link.contains("://") || link.starts_with("mailto:");
            if !outside && !file.is_empty() && !folder.join(file).exists() {
                violations.push(format!("{}:{number}: {link}", source.path));
            }
        }
    }
    check("a link to a file that does not exist", violations);
}

/// The targets of the inline links of a Markdown text with their lines, code apart.
fn links(text: &str) -> Vec<(usize, &str)> {
    let mut links = Vec::new();
    let mut fenced = false;
    for (index, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        // A link may have code for its text, but code does not hold a link.
        let mut offset = 0;
        while let Some(start) = line[offset..].find("](").map(|found| offset + found) {
            let target = &line[start + 2..];
            let end = target.find([')', ' ']).unwrap_or(target.len());
            if line[..start].matches('`').count() % 2 == 0 {
                links.push((index + 1, &target[..end]));
            }
            offset = start + 2;
        }
    }
    links
}

fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| !word.is_empty())
}

/// `value_and_grad` and `ValueAndGrad` are value, and, grad.
fn parts(word: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for c in word.chars() {
        if (c == '_' || c.is_uppercase()) && parts.last().is_some_and(|part| !part.is_empty()) {
            parts.push(String::new());
        }
        if c != '_' {
            parts.last_mut().unwrap().extend(c.to_lowercase());
        }
    }
    parts
}

/// Rust source with comments and literals cut out; lines stay where they are.
fn code_of(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => block_comment(rest),
            '"' => string(rest),
            'r' | 'b' | 'c' if !code.ends_with(is_word) => raw_string(rest),
            '\'' => character(rest),
            _ => 0,
        };
        if length == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.extend(rest[..length].chars().filter(|&c| c == '\n'));
            rest = &rest[length..];
        }
    }
    code
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the (nested) comment that `text` starts with.
fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text.as_bytes()[at..];
        at += match rest {
            [b'/', b'*', ..] => {
                depth += 1;
                2
            }
            [b'*', b'/', ..] => {
                depth -= 1;
                2
            }
            _ => 1,
        };
        if depth == 0 {
            break;
        }
    }
    at
}

fn string(text: &str) -> usize {
    let mut escaped = true;
    for (at, c) in text.char_indices() {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    text.len()
}

/// The length of the raw string that `text` starts with; 0 if it is none.
fn raw_string(text: &str) -> usize {
    let Some(after) =
        text.strip_prefix("br").or(text.strip_prefix("cr")).or(text.strip_prefix('r'))
    else {
        return 0;
    };
    let hashes = after.len() - after.trim_start_matches('#').len();
    if !after[hashes..].starts_with('"') {
        return 0;
    }
    let open = text.len() - after.len() + hashes + 1;
    let close = format!("\"{}", "#".repeat(hashes));
    text[open..].find(&close).map_or(text.len(), |found| open + found + close.len())
}

/// The length of the character literal that `text` starts with; 0 if it is a lifetime.
fn character(text: &str) -> usize {
    let mut chars = text.char_indices().skip(1);
    match (chars.next(), chars.next(), chars.next()) {
        (Some((_, '\\')), Some(_), Some((third, _))) => {
            text[third..].find('\'').map_or(0, |found| third + found + 1)
        }
        (_, Some((second, '\'')), _) => second + 1,
        _ => 0,
    }
}

#[test]
fn comments_and_literals_are_no_code() {
    let source = r##"a // b
/* c /* d */
e */ f "g \" h" r#"i " j"# 'k' '"' '\'' '\u{41}' &'l m b"n" br"o" r#p bar"q"
"multi
line" r"##;
    let words_of = |code: &str| words(code).map(str::to_owned).collect::<Vec<_>>().join(" ");
    assert_eq!(words_of(&code_of(source)), "a f l m b r p bar r");
    assert_eq!(code_of(source).lines().count(), source.lines().count());
}

#[test]
fn links_of_markdown() {
    let text = "[a](b.md) `c[i](d)` [`e`](f#g)\n```\n[h](i)\n```\n[j](k \"title\")";
    assert_eq!(links(text), [(1, "b.md"), (1, "f#g"), (5, "k")]);
    assert_eq!(parts("ValueAndGrad"), ["value", "and", "grad"]);
    assert_eq!(parts("no_tape"), ["no", "tape"]);
}
