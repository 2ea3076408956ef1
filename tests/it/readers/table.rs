//! CSV and idx files: M26 to M33.

use std::io::Write;

use ferrotape::nn::data::{Mnist, parse_csv, parse_idx};
use ferrotape::prelude::*;
use flate2::Compression;
use flate2::write::GzEncoder;

use super::hostile::{Case, read, refused};

/// What the hostile tables are asked for.
pub(crate) const COLUMNS: &[&str] = &["a"];

pub(crate) fn csv_cases() -> Vec<Case> {
    let cell = |text: &str| format!("b,a\n1,{text}\n").into_bytes();
    let wide = |n: usize| format!("a{}\n1{}\n", ",".repeat(n - 1), ",".repeat(n - 1)).into_bytes();
    let mut cases = vec![
        refused("M30-empty", b"".as_slice(), "line 1: the names of the columns are missing"),
        refused("M30-blank", b"\n\n\r\n".as_slice(), "line 1: the names"),
        read("M30-header-only", b"b,a\n".as_slice()),
        read("M30-bom", b"\xef\xbb\xbfa,b\n1,2\n".as_slice()),
        read("M30-crlf", b"a,b\r\n1,2\r\n".as_slice()),
        read("M30-lone-cr", b"a,b\r1,2\r".as_slice()),
        read("M30-no-newline", b"a,b\n1,2".as_slice()),
        refused("M30-no-column", b"x,y\n1,2\n".as_slice(), "line 1: no column is called \"a\""),
        refused(
            "M30-column-twice",
            b"a,a\n1,2\n".as_slice(),
            "line 1: two columns are called \"a\"",
        ),
        refused(
            "M31-more",
            b"b,a\n1,2\n1,2,3\n".as_slice(),
            "line 3: 3 cells, the first line has 2",
        ),
        refused("M31-less", b"a,b\n1\n".as_slice(), "line 2: 1 cells, the first line has 2"),
        refused("M31-quote", b"a,b\n1,\"2\n3,4\n".as_slice(), "a quote is open at the end"),
        refused("M31-quote-header", b"\"a".as_slice(), "a quote is open at the end"),
        read("M31-quoted", b"\"a\",b\n\" 1\",\"x\n\"\"y, \"\n".as_slice()),
        refused("M31-nul", b"a,b\n1,\0\n".as_slice(), "a NUL byte"),
        refused(
            "M31-utf8",
            b"a,b\n\xff,1\n".as_slice(),
            "line 2, column \"a\": a cell that is not UTF-8",
        ),
        read("M31-utf8-elsewhere", b"a,b\n1,\xff\n".as_slice()),
        read("M32-minus-zero", cell("-0")),
        read("M32-tiny", cell("1e-999")),
        read("M32-spaces", cell(" \t1.5 ")),
        refused("M32-long-digits", cell(&"9".repeat(400)), "line 2, column \"a\": \"9999"),
        refused(
            "M32-long-cell",
            cell(&"9".repeat(2000)),
            "line 2, column \"a\": a cell of more than 1024 bytes",
        ),
        read("M32-long-fraction", cell(&format!("0.{}", "3".repeat(400)))),
        read("M33-1e6-columns", wide(1_000_000)),
        read("M33-1e7-blank-lines", [b"a\n".as_slice(), &[b'\n'; 10_000_000], b"1\n"].concat()),
        refused(
            "M33-long-row",
            [b"a\n".as_slice(), &[b'1'; 100 << 20]].concat(),
            "a cell of more than 1024 bytes",
        ),
        read("M33-long-row-elsewhere", [b"a,b\n1,".as_slice(), &[b'1'; 100 << 20]].concat()),
    ];
    for text in [
        "nan", "inf", "-inf", "NaN", "1e999", "0x10", "1_000", "\u{ff11}", "", "\"1,5\"", "1;5",
        "--1", "1.2.3",
    ] {
        cases.push(refused(
            format!("M32-{}", text.replace(|c: char| !c.is_ascii_alphanumeric(), "_")),
            cell(text),
            "line 2, column \"a\": ",
        ));
    }
    cases
}

/// An idx file: the type byte, the sizes and the payload, whether they fit or not.
fn idx(kind: u8, sizes: &[u32], payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0, 0, kind, sizes.len() as u8];
    sizes.iter().for_each(|size| bytes.extend(size.to_be_bytes()));
    bytes.extend(payload);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn idx_cases() -> Vec<Case> {
    let good = idx(8, &[2, 3], &[1, 2, 3, 4, 5, 6]);
    let packed = gzip(&good);
    let raw = vec![
        refused("M26-magic", [&[0, 1][..], &good[2..]].concat(), "magic at byte 0"),
        refused("M26-type-07", idx(7, &[1], &[0]), "type at byte 2: 07"),
        refused("M26-type-0a", idx(10, &[1], &[0, 0]), "type at byte 2: 0a"),
        refused("M26-type-0f", idx(15, &[1], &[0]), "type at byte 2: 0f"),
        refused("M26-rank-0", idx(8, &[], &[]), "number of dimensions at byte 3: 0"),
        refused("M26-rank-255", idx(8, &[1; 255], &[0]), "number of dimensions at byte 3: 255"),
        refused("M27-huge", idx(8, &[1 << 31, 28, 28], &[0; 64]), "sizes at byte 4: they announce"),
        refused(
            "M27-overflow",
            idx(14, &[u32::MAX; 8], &[0; 64]),
            "sizes at byte 4: they announce 2^64",
        ),
        refused("M27-trailing", idx(8, &[1], &[0, 0]), "end at byte 9"),
        read("M27-empty", idx(8, &[0, u32::MAX], &[])),
        read("M26-good", good.clone()),
    ];
    let cut = |bytes: &[u8], what: &str| -> Vec<Case> {
        (0..bytes.len()).map(|n| refused(format!("{what}-cut-{n}"), &bytes[..n], "")).collect()
    };
    let zipped = raw.iter().map(|case| Case {
        name: format!("{}-gz", case.name.replace("M26", "M28").replace("M27", "M28")),
        bytes: gzip(&case.bytes),
        verdict: case.verdict,
    });
    // 60 MB of zeros in 60 kB: after the end, and as an honest file that is cut or has a wrong checksum.
    let zeros = vec![0; 60 << 20];
    let bomb = gzip(&idx(8, &[1], &zeros));
    let honest = gzip(&idx(8, &[60 << 20], &zeros));
    let mut wrong_sum = honest.clone();
    let sum = wrong_sum.len() - 8;
    wrong_sum[sum] ^= 1;
    let mut cases: Vec<Case> = zipped.collect();
    cases.extend(raw);
    cases.extend(cut(&good, "M27"));
    cases.extend(cut(&packed, "M28"));
    cases.extend([
        refused("M28-bomb", bomb, "end at byte 9"),
        refused("M28-honest-cut", &honest[..honest.len() - 9], "payload"),
        refused("M28-honest-sum", wrong_sum, "damaged gzip data"),
        refused("M28-lying", gzip(&idx(8, &[1 << 30], &[0; 1 << 20])), "sizes at byte 4"),
        refused(
            "M28-second-member",
            [&packed[..], &packed].concat(),
            "more bytes follow the gzip member",
        ),
        refused("M28-gz-of-gz", gzip(&packed), "magic at byte 0"),
        refused("M28-trailing", [&packed[..], b"x"].concat(), "more bytes follow the gzip member"),
        read("M28-honest", honest),
    ]);
    cases
}

#[test]
fn what_tables_say_is_read_right() {
    let column = |text: &[u8], dtype| parse_csv(text, COLUMNS, dtype).unwrap();
    let bits =
        |x: Tensor| x.to_vec::<f64>().unwrap().iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    let text = b"\xef\xbb\xbf b ,\"a\"\r\nx,1.5\r\n\r\n\"y,\nz\", -0 \r\n,\"1e-999\"\n,+.5\r,123456789012345678901234567890";
    let expected = [1.5, -0.0, 0.0, 0.5, 123456789012345678901234567890.0].map(f64::to_bits);
    assert_eq!(bits(column(text, DType::F64)), expected);
    assert_eq!(
        column(b"a\n9007199254740993\n", DType::I64).to_vec::<i64>().unwrap(),
        [9007199254740993]
    );
    // Rounded once, not by way of f64.
    assert_eq!(
        column(b"a\n1.00000017881393432617187499\n", DType::F32).item::<f32>().unwrap(),
        1.000_000_1
    );
    assert_eq!(column(b"b,a\n", DType::F32).shape(), [0, 1]);
    let table = b"c,a,b\n1,2,3\n4,5,6\n";
    let chosen = parse_csv(table, &["b", "c"], DType::I64).unwrap();
    assert_eq!((chosen.shape(), chosen.to_vec::<i64>().unwrap()), (&[2, 2][..], vec![3, 1, 6, 4]));
    let all = parse_csv(table, &[], DType::I64).unwrap();
    assert_eq!((all.shape(), all.to_vec::<i64>().unwrap()), (&[2, 3][..], vec![1, 2, 3, 4, 5, 6]));
    let message = parse_csv(b"a,b\n1,2\n3,x\n", &[], DType::F32).unwrap_err().to_string();
    assert!(message.starts_with("line 3, column 2: \"x\" is no number of this type"), "{message}");
    let message = parse_csv(b"a\n1.5\n", COLUMNS, DType::I64).unwrap_err().to_string();
    assert!(message.starts_with("line 2, column \"a\": \"1.5\" is no number"), "{message}");
    assert!(
        parse_csv(b"a\n1\n", COLUMNS, DType::U8)
            .unwrap_err()
            .to_string()
            .contains("numbers of type u8")
    );
    // Rows that end where a chunk of the file does.
    let long: String = (0..40_000).map(|i| format!("{i},{}\n", i % 7)).collect();
    let long = parse_csv(format!("n,a\n{long}").as_bytes(), &["a", "n"], DType::I64)
        .unwrap()
        .to_vec::<i64>()
        .unwrap();
    assert!(long.chunks(2).enumerate().all(|(i, row)| row == [i as i64 % 7, i as i64]));
}

#[test]
fn images_and_labels_that_do_not_belong_together() {
    let images = idx(8, &[3, 2, 2], &[0; 12]);
    let message = Mnist::from_bytes(&images, &idx(8, &[2], &[0, 1])).unwrap_err().to_string();
    assert!(
        message.contains("mnist") && message.contains('3') && message.contains('2'),
        "{message}"
    );
    // M29: the label 255 of ten classes.
    let labels = parse_idx(&idx(8, &[1], &[255])).unwrap();
    let target = Tensor::from(labels.data).to_dtype(DType::I64).unwrap();
    let scores = Tensor::zeros([1, 10], DType::F32).unwrap();
    let message = scores.cross_entropy(&target).unwrap_err().to_string();
    assert!(message.contains("255") && message.contains("10"), "{message}");
}
