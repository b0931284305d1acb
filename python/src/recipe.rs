//! How a lock is made, from what it is asked for in Python, and how it is made again where it was pickled.

use crate::equipment::equipment;
use crate::errors::raise;
use crate::lock::Lock;
use crate::options::{self, Wait};
use crate::signals::Raised;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple, PyType};
use pyo3::{IntoPyObjectExt as _, PyTraverseError, PyVisit};
use sneck::{LockBuilder, Registry, Requirement};
use std::sync::OnceLock;

/// All protocols that places may name.
pub(crate) fn registry() -> &'static Registry {
    static ALL: OnceLock<Registry> = OnceLock::new();
    ALL.get_or_init(|| {
        #[allow(unused_mut, reason = "a build without servers adds none")]
        let mut registry = Registry::local();
        #[cfg(feature = "etcd")]
        sneck_etcd::register(&mut registry);
        #[cfg(feature = "postgres")]
        sneck_postgres::register(&mut registry);
        #[cfg(feature = "redis")]
        sneck_redis::register(&mut registry);
        registry
    })
}

/// Those of this machine.
pub(crate) fn local() -> &'static Registry {
    static LOCAL: OnceLock<Registry> = OnceLock::new();
    LOCAL.get_or_init(Registry::local)
}

/// How to make another one: a callable, its arguments and keywords.
#[derive(Debug)]
pub(crate) struct Recipe {
    pub(crate) call: Py<PyAny>,
    pub(crate) arguments: Py<PyTuple>,
    pub(crate) keywords: Py<PyDict>,
    /// Whether a wait for oneself is refused.
    pub(crate) refuses: bool,
}

impl Recipe {
    /// For pickle: how to make that lock again, and what a subclass keeps in it.
    pub(crate) fn reduce<'py>(&self, lock: &Bound<'py, Lock>) -> PyResult<Bound<'py, PyAny>> {
        let py = lock.py();
        let place = lock.get().native().place();
        if place.scheme() == "memory" && place.rest().is_empty() {
            let what = "a lock in memory that has no name cannot be copied or pickled: what arrives would be another lock";
            return Err(PyTypeError::new_err(what));
        }
        let (arguments, keywords) = (&self.arguments, &self.keywords);
        let again = &equipment(py)?.again;
        let call = match self.call.bind(py).is_instance_of::<PyType>() {
            true => lock.get_type().into_any(),
            false => self.call.bind(py).clone(),
        };
        // Python has had one for every object since 3.11.
        let state = match lock.getattr_opt("__getstate__")? {
            Some(state) => Some(state.call0()?),
            None => lock.getattr_opt("__dict__")?,
        };
        (again, (call, arguments, keywords), state).into_bound_py_any(py)
    }

    pub(crate) fn traverse(&self, visit: &PyVisit<'_>) -> Result<(), PyTraverseError> {
        visit.call(&self.call)?;
        visit.call(&self.arguments)?;
        visit.call(&self.keywords)
    }

    /// The class, or what the class calls by this name.
    pub(crate) fn call<'py>(py: Python<'py>, name: Option<&str>) -> PyResult<Bound<'py, PyAny>> {
        let class = py.get_type::<Lock>();
        match name {
            Some(name) => class.getattr(name),
            None => Ok(class.into_any()),
        }
    }
}

/// All that a lock may be told, besides where it is.
pub(crate) struct Wishes<'py> {
    pub(crate) mode: &'py str,
    pub(crate) timeout: Wait,
    pub(crate) stale: Option<Bound<'py, PyAny>>,
    pub(crate) reentry: &'py str,
    pub(crate) record: &'py str,
    pub(crate) label: Option<String>,
    pub(crate) ttl: Option<Bound<'py, PyAny>>,
    pub(crate) lock_delay: Option<Bound<'py, PyAny>>,
    pub(crate) require: Option<Bound<'py, PyAny>>,
    pub(crate) on_wait: Option<Bound<'py, PyAny>>,
}

impl Wishes<'_> {
    fn builder(&self, raised: &Raised, required: &[Requirement]) -> PyResult<LockBuilder> {
        let mut builder = sneck::Lock::builder()
            .registry(registry())
            .mode(options::mode(self.mode)?)
            .timeout(self.timeout.0)
            .reentry(options::reentry(self.reentry)?)
            .record(options::record(self.record)?)
            .require(required.iter().copied())
            .observer(raised.clone());
        if let Some(stale) = &self.stale {
            builder = builder.stale(options::stale(stale)?);
        }
        if let Some(label) = &self.label {
            builder = builder.label(label);
        }
        if let Some(ttl) = &self.ttl {
            builder = builder.ttl(options::time("ttl", ttl)?);
        }
        if let Some(delay) = &self.lock_delay {
            builder = builder.lock_delay(options::time("lock_delay", delay)?);
        }
        Ok(builder)
    }

    fn keywords<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let keywords = PyDict::new(py);
        keywords.set_item("mode", self.mode)?;
        keywords.set_item("timeout", self.timeout.seconds())?;
        keywords.set_item("stale", &self.stale)?;
        keywords.set_item("reentry", self.reentry)?;
        keywords.set_item("record", self.record)?;
        keywords.set_item("label", &self.label)?;
        keywords.set_item("ttl", &self.ttl)?;
        keywords.set_item("lock_delay", &self.lock_delay)?;
        keywords.set_item("on_wait", &self.on_wait)?;
        Ok(keywords)
    }

    /// The lock. `name` and `arguments` are for the recipe; so is what its keywords are to say `more`.
    pub(crate) fn make<'py>(
        self,
        py: Python<'py>,
        make: impl FnOnce(LockBuilder) -> sneck::Result<sneck::Lock>,
        name: Option<&str>,
        arguments: Bound<'py, PyTuple>,
        more: &[(&str, &str)],
    ) -> PyResult<Lock> {
        let raised = Raised::default();
        // Once: what gives the words may give them only once.
        let required = self.require.as_ref().map(options::requirements);
        let required = required.transpose()?.unwrap_or_default();
        let builder = self.builder(&raised, &required)?;
        let lock = make(builder).map_err(|error| raise(py, &error))?;
        let keywords = self.keywords(py)?;
        let words: Vec<String> = required.iter().map(ToString::to_string).collect();
        keywords.set_item("require", words)?;
        for (name, value) in more {
            keywords.set_item(name, value)?;
        }
        let recipe = Recipe {
            call: Recipe::call(py, name)?.unbind(),
            arguments: arguments.unbind(),
            keywords: keywords.unbind(),
            refuses: self.reentry != "wait",
        };
        Lock::of(lock, self.timeout, self.on_wait, raised, recipe)
    }
}

/// Something that can be called, or nothing.
pub(crate) fn callback(on_wait: Option<Bound<'_, PyAny>>) -> PyResult<Option<Py<PyAny>>> {
    match on_wait {
        Some(call) if !call.is_callable() => {
            Err(PyTypeError::new_err("on_wait: something to call, or None"))
        }
        on_wait => Ok(on_wait.map(Bound::unbind)),
    }
}
