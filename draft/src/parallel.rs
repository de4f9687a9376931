//! Several sequences are drafted side by side.

use rayon::prelude::*;

/// Does each job, the results in the jobs' order. Threads of the current pool share them out, each with a scratch of its
/// own, which is kept; what a result is may not depend on what the scratch was used for before.
///
/// A single job is done at once, and on a single thread all are, one after the other.
pub(crate) fn for_each_job<J: Send, S: Default + Send, R: Send>(
    jobs: &mut [J],
    scratches: &mut Vec<S>,
    work: impl Fn(&mut J, &mut S) -> R + Sync,
) -> Vec<R> {
    let parts = rayon::current_num_threads().min(jobs.len()).max(1);
    if scratches.len() < parts {
        scratches.resize_with(parts, S::default);
    }
    if parts == 1 {
        let scratch = &mut scratches[0];
        return jobs.iter_mut().map(|job| work(job, scratch)).collect();
    }
    let size = jobs.len().div_ceil(parts);
    let results = jobs
        .par_chunks_mut(size)
        .zip(scratches)
        .with_max_len(1)
        .map(|(jobs, scratch)| jobs.iter_mut().map(|job| work(job, scratch)).collect());
    results
        .collect::<Vec<Vec<R>>>()
        .into_iter()
        .flatten()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_job_is_done_once_and_stands_in_its_place() {
        for num_threads in 1..4 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(num_threads);
            let pool = pool.build().unwrap();
            let mut scratches: Vec<usize> = Vec::new();
            for num_jobs in 0..10 {
                let mut jobs: Vec<usize> = (0..num_jobs).collect();
                let results = pool.install(|| {
                    for_each_job(&mut jobs, &mut scratches, |job, num_done| {
                        *num_done += 1;
                        10 * *job
                    })
                });
                assert_eq!(
                    results,
                    (0..num_jobs).map(|job| 10 * job).collect::<Vec<_>>()
                );
            }
            assert_eq!(scratches.iter().sum::<usize>(), 45);
            assert_eq!(scratches.len(), num_threads);
        }
    }
}
