mod gossip;
mod staleness;
mod rates;
mod trace;
mod wan;
use grapevine::detector::*;
fn main() {
    let _ = staleness::run;
    for n in [128, 64] {
        for seed in 0..2 {
            let t = std::time::Instant::now();
            let run = rates::run(&rates::Setup::default(), n, seed).unwrap();
            let mean = |a: f64, b: f64| { let v: Vec<f64> = run.iter().filter(|s| s.0 >= a && s.0 < b).map(|s| s.1).collect(); v.iter().sum::<f64>() / v.len() as f64 };
            let min = run.iter().filter(|s| s.0 >= 90.0).map(|s| s.1).fold(9.0, f64::min);
            println!("{n} {seed} eq {:.3} after {:.3} min {min:.3} {:?}", mean(60.0, 90.0), mean(140.0, 180.0), t.elapsed());
        }
    }
    for seed in 0..2 {
        let t = std::time::Instant::now();
        let a = trace::arrivals(trace::BEATS, seed);
        let n = a.len();
        let mean = (a[n-1]-a[0]) as f64 / (n-1) as f64;
        let sd = (a.windows(2).map(|p| ((p[1]-p[0]) as f64 - mean).powi(2)).sum::<f64>() / n as f64).sqrt();
        let gaps = a.windows(2).filter(|p| p[1]-p[0] > 300_000).count();
        let gaps2 = a.windows(2).filter(|p| p[1]-p[0] > 1_900_000).count();
        println!("trace {seed}: {n} mean {mean} sd {sd} gaps {gaps} {gaps2} {:?}", t.elapsed());
        let t = std::time::Instant::now();
        let plain = DetectorConfig { window: 1000, ..DetectorConfig::plain_normal() };
        let ths = [1.0,2.0,3.0,5.0,7.0,8.0,10.,12.,16.];
        for (th, o) in ths.iter().zip(wan::run(&plain, &ths, &a)) { println!("{th} {o:.5?}"); }
        println!("{:?}", t.elapsed());
        let h = DetectorConfig { min_std_dev_ratio: 0.05, pause: 1.0, ..plain.clone() };
        println!("hard {:.5?}", wan::run(&h, &[8.0], &a));
        println!("hard+clamp {:.5?}", wan::run(&DetectorConfig{max_std_dev: 3.0, ..h.clone()}, &[8.0], &a));
        println!("exp {:.5?}", wan::run(&DetectorConfig{window: 1000, max_sample: f64::INFINITY, ..DetectorConfig::exponential()}, &[8.0], &a));
        println!("exp max10 {:.5?}", wan::run(&DetectorConfig{window: 1000, ..DetectorConfig::exponential()}, &[8.0], &a));
        println!("fixed {:.5?}", wan::fixed(std::time::Duration::from_millis(250), &a));
    }
}
