//! The runtimes: tokio with several threads and with one, and smol.

use std::future::Future;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Runtime {
    Tokio,
    /// All tasks in one thread, which nothing may keep asleep.
    TokioInOneThread,
    Smol,
}

pub(crate) const ALL: [Runtime; 3] = [Runtime::Tokio, Runtime::TokioInOneThread, Runtime::Smol];

/// A runtime that runs.
pub(crate) enum Running {
    Tokio(tokio::runtime::Runtime),
    Smol,
}

/// A task of it. Dropping it leaves it running.
pub(crate) enum Task<T> {
    Tokio(tokio::task::JoinHandle<T>),
    Smol(Option<smol::Task<T>>),
}

impl Runtime {
    pub(crate) fn start(self) -> Running {
        let tokio = |threads| {
            let mut builder = tokio::runtime::Builder::new_multi_thread();
            let built = builder.worker_threads(threads).enable_time().build();
            Running::Tokio(built.expect("a runtime"))
        };
        match self {
            Runtime::Tokio => tokio(2),
            Runtime::TokioInOneThread => tokio(1),
            Runtime::Smol => Running::Smol,
        }
    }
}

impl Running {
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Task<T> {
        match self {
            Running::Tokio(runtime) => Task::Tokio(runtime.spawn(future)),
            Running::Smol => Task::Smol(Some(smol::spawn(future))),
        }
    }

    pub(crate) fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        match self {
            Running::Tokio(runtime) => runtime.block_on(future),
            Running::Smol => smol::block_on(future),
        }
    }
}

impl<T> Task<T> {
    /// Its end.
    pub(crate) async fn end(mut self) -> T {
        match &mut self {
            Task::Tokio(task) => task.await.expect("no panic"),
            Task::Smol(task) => task.take().expect("once").await,
        }
    }

    /// Drop its future wherever it is; None, unless it came to its end before.
    pub(crate) async fn cancel(mut self) -> Option<T> {
        match &mut self {
            Task::Tokio(task) => {
                task.abort();
                task.await.ok()
            }
            Task::Smol(task) => task.take().expect("once").cancel().await,
        }
    }
}

impl<T> Drop for Task<T> {
    fn drop(&mut self) {
        if let Task::Smol(task) = self {
            task.take().into_iter().for_each(smol::Task::detach);
        }
    }
}
