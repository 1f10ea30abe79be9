//! Slow work on threads of its own: neither a reactor nor the hub ever waits for it.

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Instant;

type Work = Box<dyn FnOnce() + Send>;

/// The way to a pool. Holds as many jobs as it was made for, waiting or running, and takes no more.
#[derive(Clone)]
pub struct Pool {
    work: Sender<Work>,
    jobs: Arc<AtomicUsize>,
    jobs_max: usize,
}

/// Where jobs wait, in their order: for [`Threads`], or for somebody who does them one by one.
pub struct Queue {
    work: Receiver<Work>,
    jobs: Arc<AtomicUsize>,
}

/// A pool whose jobs nobody does yet.
pub fn pool(jobs_max: usize) -> (Pool, Queue) {
    // Unbounded in mechanism: `jobs` bounds it.
    let (sender, receiver) = crossbeam_channel::unbounded();
    let jobs = Arc::new(AtomicUsize::new(0));
    (Pool { work: sender, jobs: jobs.clone(), jobs_max }, Queue { work: receiver, jobs })
}

impl Pool {
    /// Has `job` done on a thread of the pool, which then tells `hear` what came of it. Neither may panic. False: the pool is
    /// full, and nothing will be heard.
    pub fn submit<R>(&self, job: impl FnOnce() -> R + Send + 'static, hear: impl FnOnce(R) + Send + 'static) -> bool {
        let place = |jobs| (jobs < self.jobs_max).then_some(jobs + 1);
        if self.jobs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, place).is_err() {
            return false;
        }
        let jobs = self.jobs.clone();
        let work = move || {
            let result = job();
            // Who hears of it may come with the next one at once.
            jobs.fetch_sub(1, Ordering::Relaxed);
            hear(result);
        };
        self.work.send(Box::new(work)).is_ok()
    }
}

impl Queue {
    /// Does the job that has waited longest, here and now. False: none waits.
    pub fn work(&self) -> bool {
        self.work.try_recv().map(|work| work()).is_ok()
    }

    /// Jobs that wait or run.
    pub fn jobs(&self) -> usize {
        self.jobs.load(Ordering::Relaxed)
    }

    /// Jobs that are here to be done. Who submits one counts it a moment before it is here.
    pub fn waiting(&self) -> usize {
        self.work.len()
    }

    /// Lets so many threads do the jobs.
    ///
    /// # Errors
    /// A thread could not be started. Those that were end with the pool.
    pub fn staffed(self, name: &str, threads: usize) -> io::Result<Threads> {
        let (stopped, running) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (alive, ended) = crossbeam_channel::bounded(0);
        for number in 0..threads {
            let (work, alive) = (self.work.clone(), alive.clone());
            let (stopped, running) = (stopped.clone(), running.clone());
            let run = move || {
                let _alive: Sender<Infallible> = alive;
                while let Ok(work) = work.recv() {
                    running.fetch_add(1, Ordering::SeqCst);
                    if !stopped.load(Ordering::SeqCst) {
                        work();
                    }
                    running.fetch_sub(1, Ordering::SeqCst);
                }
            };
            std::thread::Builder::new().name(format!("{name} {number}")).spawn(run)?;
        }
        Ok(Threads { stopped, running, ended })
    }
}

/// The threads of a pool. They end when nobody is left who could submit a job; left to themselves, they do all that wait first.
pub struct Threads {
    stopped: Arc<AtomicBool>,
    running: Arc<AtomicUsize>,
    ended: Receiver<Infallible>,
}

impl Threads {
    /// Drops the jobs that wait. Whoever can submit one has to be gone. False: a job still ran at the deadline, and goes on.
    pub fn end(self, deadline: Instant) -> bool {
        self.stopped.store(true, Ordering::SeqCst);
        match self.ended.recv_deadline(deadline) {
            Ok(never) => match never {},
            Err(RecvTimeoutError::Disconnected) => true,
            // A thread without a job is about to end.
            Err(RecvTimeoutError::Timeout) => self.running.load(Ordering::SeqCst) == 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam_channel::{bounded, unbounded};
    use std::time::Duration;

    const PATIENCE: Duration = Duration::from_secs(20);

    #[test]
    fn a_pool_takes_so_many_jobs_and_no_more_until_one_is_done() {
        let (pool, queue) = pool(2);
        let (heard, results) = unbounded();
        let submit = |number: u32| {
            let heard = heard.clone();
            pool.submit(move || number * 10, move |result| heard.send(result).unwrap())
        };
        assert_eq!([submit(1), submit(2), submit(3)], [true, true, false]);
        assert_eq!((queue.jobs(), queue.waiting()), (2, 2));
        assert!(queue.work());
        assert_eq!([submit(4), submit(5)], [true, false]);
        assert_eq!(queue.jobs(), 2);
        while queue.work() {}
        assert_eq!(results.try_iter().collect::<Vec<_>>(), [10, 20, 40]);
        assert_eq!(queue.jobs(), 0);
    }

    #[test]
    fn who_has_heard_of_a_job_has_room_for_the_next_one() {
        let (pool, queue) = pool(1);
        let threads = queue.staffed("worker", 1).unwrap();
        let (heard, results) = unbounded();
        for number in 0..1_000 {
            let heard = heard.clone();
            assert!(pool.submit(move || number, move |result| heard.send(result).unwrap()), "{number}");
            assert_eq!(results.recv_timeout(PATIENCE), Ok(number));
        }
        drop(pool);
        assert!(threads.end(Instant::now() + PATIENCE));
    }

    #[test]
    fn jobs_run_side_by_side_on_threads_of_that_name() {
        let (pool, queue) = pool(8);
        let threads = queue.staffed("worker", 2).unwrap();
        let (heard, results) = unbounded();
        // Each waits for the other.
        let (to_first, first) = bounded::<()>(0);
        let (to_second, second) = bounded::<()>(0);
        for (mine, other, sends) in [(first, to_second, true), (second, to_first, false)] {
            let meet = move || {
                if sends {
                    other.send(()).unwrap();
                }
                mine.recv_timeout(PATIENCE).unwrap();
                if !sends {
                    other.send(()).unwrap();
                }
                std::thread::current().name().map(str::to_owned)
            };
            let heard = heard.clone();
            assert!(pool.submit(meet, move |name| heard.send(name).unwrap()));
        }
        let mut names: Vec<_> = (0..2).map(|_| results.recv_timeout(PATIENCE).unwrap().unwrap()).collect();
        names.sort();
        assert_eq!(names, ["worker 0", "worker 1"]);
        drop(pool);
        assert!(threads.end(Instant::now() + PATIENCE));
    }

    #[test]
    fn an_end_waits_for_what_runs_until_the_deadline_and_never_for_what_waits() {
        let (pool, queue) = pool(8);
        let threads = queue.staffed("worker", 1).unwrap();
        let (heard, results) = unbounded();
        let (begun, has_begun) = bounded::<()>(0);
        let (go_on, may_go_on) = bounded::<()>(0);
        let first = heard.clone();
        let running = move || {
            begun.send(()).unwrap();
            may_go_on.recv_timeout(PATIENCE).unwrap();
        };
        assert!(pool.submit(running, move |()| first.send("ran").unwrap()));
        assert!(pool.submit(|| (), move |()| heard.send("waited").unwrap()));
        has_begun.recv_timeout(PATIENCE).unwrap();
        drop(pool);
        assert!(!threads.end(Instant::now()), "it runs");
        go_on.send(()).unwrap();
        assert_eq!(results.recv_timeout(PATIENCE), Ok("ran"));
        assert!(results.recv_timeout(PATIENCE).is_err(), "dropped: nobody is left who could tell");
    }
}
