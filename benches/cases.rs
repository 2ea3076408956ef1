//! Our side of every case of `peers/cases.csv` that tensors take part in, alone: for a look at changes and, with
//! `FERROTAPE_BENCH_PROFILE`, at the operations of a step. `scripts/bench-peers` times them beside others'.

use std::time::Duration;

use criterion::Criterion;
use ferrotape::set_threads;
use ferrotape_benches::{Contender, Record, case, interleaved, names, profile};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut criterion = Criterion::default().sample_size(10).configure_from_args();
    let mut record = Record::open()?;
    let filter = std::env::args().skip(1).find(|word| !word.starts_with('-')).unwrap_or_default();
    for threads in [1, 2] {
        set_threads(threads);
        for name in names().filter(|name| name.contains(&filter)) {
            let Some(run) = case(name)? else { continue };
            let mut contender = Contender { name: name.to_owned(), run };
            if std::env::var_os("FERROTAPE_BENCH_PROFILE").is_some() {
                println!("\n{name}, {threads} thread(s)");
                profile(50, &mut contender.run);
                continue;
            }
            criterion.bench_function(&format!("{name}/{threads}"), |b| b.iter(&mut contender.run));
            let time =
                interleaved(std::slice::from_mut(&mut contender), Duration::from_millis(4), 15)[0];
            println!("{name:<40}{threads:>2}{:>14.3} us", time * 1e6);
            record.row(["cases", name, "ferrotape"], threads, time * 1e6, "us")?;
        }
    }
    criterion.final_summary();
    Ok(())
}
