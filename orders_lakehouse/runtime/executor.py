"""The executor of a run: two of its steps at once, in threads of one process.

Of Dagster's own, `in_process_executor` works on one step after the other, while a core waits for the disk, for Postgres
or for Python; `multiprocess_executor` starts a process for each step, which takes seconds. This one takes up a step
while another is at work. Which steps are ready and what becomes of them is Dagster's affair, as are events, retries and
pools.
"""

import contextvars
import ctypes
import os
import signal
import sys
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Set
from contextlib import ExitStack, suppress
from queue import Empty, SimpleQueue
from typing import Any

import dagster as dg
import psutil

# What Dagster's own executors are made of: there is no public way to say how the steps of a plan are worked on.
from dagster._core.definitions.job_base import InMemoryJob
from dagster._core.events import EngineEventData
from dagster._core.execution.api import ExecuteRunWithPlanIterable, execute_run
from dagster._core.execution.compute_logs import create_compute_log_file_key
from dagster._core.execution.context_creation_job import PlanExecutionContextManager
from dagster._core.execution.plan.execute_plan import (
    _handle_compute_log_setup_error,
    _trigger_hook,
    dagster_event_sequence_for_step,
)
from dagster._core.execution.plan.instance_concurrency_context import InstanceConcurrencyContext
from dagster._core.execution.retries import RetryMode
from dagster._core.execution.step_dependency_config import StepDependencyConfig
from dagster._utils.interrupts import raise_interrupts_as

# Each step uses all cores where it computes; a second one is for the times in which the first does not.
STEPS_AT_ONCE = 2
# How often it is looked whether a step may start that waits: for a slot of a pool, or to be tried again.
_POLL_SECONDS = 0.5

# Key of a step, and what its thread tells: an event, and last the error that got out of it, or None.
_Told = tuple[str, dg.DagsterEvent | BaseException | None]


class ThreadsExecutor(dg.Executor):
    """Works on the steps of a run in threads of this process, `STEPS_AT_ONCE` at a time."""

    @property
    def retries(self) -> RetryMode:
        """A step that asks to be tried again is."""
        return RetryMode.ENABLED

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        """A step waits for the end of those before it."""
        return StepDependencyConfig.default()

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        """Work on the steps of a plan; yields their events as they come."""
        yield dg.DagsterEvent.engine_event(
            plan_context,
            f"Executing steps in threads of one process, {STEPS_AT_ONCE} at a time (pid: {os.getpid()})",
            EngineEventData.in_process(os.getpid(), execution_plan.step_keys_to_execute),
        )
        yield from ExecuteRunWithPlanIterable(
            execution_plan=execution_plan,
            iterator=_events,
            execution_context_manager=PlanExecutionContextManager(
                job=plan_context.job,
                retry_mode=self.retries,
                execution_plan=execution_plan,
                run_config=plan_context.run_config,
                dagster_run=plan_context.dagster_run,
                instance=plan_context.instance,
                raise_on_error=plan_context.raise_on_error,
                output_capture=plan_context.output_capture,
                step_dependency_config=self.step_dependency_config,
            ),
        )


class _Around(dg.Executor):
    def __init__(self, executor: dg.Executor, before: "Before | None", after: "After") -> None:
        self._executor, self._before, self._after = executor, before, after

    @property
    def retries(self) -> Any:  # Dagster names its type in private
        return self._executor.retries

    @property
    def step_dependency_config(self) -> Any:
        return self._executor.step_dependency_config

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        instance, run_id = plan_context.instance, plan_context.run_id
        if self._before is not None:
            self._before(instance, run_id)
        yield from self._executor.execute(plan_context, execution_plan)
        outputs = [output for step in execution_plan.steps for output in step.step_outputs]
        keys = [output.properties.asset_check_key for output in outputs]
        self._after(instance, run_id, {key for key in keys if key is not None})


# Work before the first step of a run, and after its last one: instance, run, checks of its steps.
Before = Callable[[dg.DagsterInstance, str], object]
After = Callable[[dg.DagsterInstance, str, Collection[dg.AssetCheckKey]], object]


def around(definition: dg.ExecutorDefinition, *, before: Before | None = None, after: After) -> dg.ExecutorDefinition:
    """The same executor, with work before the first step of a run and after its last, whether or not it succeeded."""
    create = definition.executor_creation_fn
    if create is None:
        raise TypeError(f"the executor {definition.name} cannot be made in this process")
    return dg.ExecutorDefinition(
        name=definition.name,
        config_schema=definition.config_schema,  # type: ignore[arg-type]  # it takes what it gives
        requirements=definition.get_requirements,
        executor_creation_fn=lambda context: _Around(create(context), before, after),
        description=definition.description,
    )


@dg.executor(name="threads")
def threads_executor(_: dg.InitExecutorContext) -> dg.Executor:
    """Two steps at once, in threads of the run's process."""
    return ThreadsExecutor()


def execute_here(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    run_id: str | None = None,
    run_config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> dg.JobExecutionResult:
    """Execute a job in this process by the executor that it has; `JobDefinition.execute_in_process` knows one alone.

    Args:
        job: The job, with an executor that needs no other process.
        instance: Where the run is stored.
        run_id: Of the run; a new one if not given.
        run_config: Of the run.
        tags: Of the run, beside the job's.
    """
    run = instance.create_run_for_job(job, run_id=run_id, run_config=run_config, tags={**job.run_tags, **(tags or {})})
    return execute_run(InMemoryJob(job), run, instance)


def _events(job_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
    with ExitStack() as captured:
        yield from _capture_output(captured, job_context, execution_plan)
        with (
            InstanceConcurrencyContext(job_context.instance, job_context.dagster_run) as slots,
            execution_plan.start(
                retry_mode=job_context.retry_mode,
                max_concurrent=STEPS_AT_ONCE,
                instance_concurrency_context=slots,
                step_dependency_config=job_context.step_dependency_config,
            ) as active,
        ):
            yield from _work(job_context, active)


def _capture_output(stack: ExitStack, job_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
    """Keep what this process prints, for the UI, until the stack is left."""
    manager, step_keys = job_context.instance.compute_log_manager, execution_plan.step_keys_to_execute
    file_key: str = create_compute_log_file_key()  # type: ignore[no-untyped-call]
    key = manager.build_log_key_for_run(job_context.run_id, file_key)
    try:
        context = stack.enter_context(manager.capture_logs(key))
        yield dg.DagsterEvent.capture_logs(job_context, step_keys, key, context)
    except Exception:  # noqa: BLE001 (as Dagster does: a run goes on without)
        yield from _handle_compute_log_setup_error(job_context, sys.exc_info())


def _work(job_context: Any, active: Any) -> Iterator[dg.DagsterEvent]:
    """Start steps as they get ready, and yield what they tell, until none is left."""
    told: SimpleQueue[_Told] = SimpleQueue()
    threads: dict[str, threading.Thread] = {}
    contexts: dict[str, Any] = {}
    of_step: dict[str, list[dg.DagsterEvent]] = defaultdict(list)
    # Of others' making, such as those that keep what this process prints.
    children = set(psutil.Process().children())
    try:
        while not active.is_complete:
            for step in active.get_steps_to_execute():
                contexts[step.key] = job_context.for_step(step, active.get_known_state())
                threads[step.key] = _start(step.key, contexts[step.key], told)
            yield from active.concurrency_event_iterator(job_context)
            for key, what in _next(told):
                if isinstance(what, dg.DagsterEvent):
                    of_step[key].append(what)
                    yield what
                    active.handle_event(what)
                    continue
                del threads[key]
                if what is not None:
                    raise what
                active.verify_complete(job_context, key)
                yield from _trigger_hook(contexts.pop(key), of_step.pop(key, []))
            yield from active.plan_events_iterator(job_context)
    except BaseException:
        for event in _end(threads, told, children):
            yield event
            # A step that ends gives back its slot of a pool.
            active.handle_event(event)
        raise


def _next(told: "SimpleQueue[_Told]") -> Iterator[_Told]:
    """What steps have told, once there is something; nothing after a while. Where a run is interrupted, it is here."""
    try:
        with raise_interrupts_as(dg.DagsterExecutionInterruptedError):
            first = told.get(timeout=_POLL_SECONDS)
    except Empty:
        return
    yield first
    with suppress(Empty):
        while True:
            yield told.get_nowait()


def _start(key: str, context: Any, told: "SimpleQueue[_Told]") -> threading.Thread:
    def work() -> None:
        error = None
        try:
            for event in dagster_event_sequence_for_step(context):
                told.put((key, event))
        except BaseException as raised:  # noqa: BLE001 (raised again where the run is executed)
            error = raised
        told.put((key, error))

    # A daemon: a process that ends for another reason does not wait for it.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name=key, daemon=True)
    thread.start()
    return thread


def _end(
    threads: Mapping[str, threading.Thread], told: "SimpleQueue[_Told]", others: Set[psutil.Process]
) -> Iterator[dg.DagsterEvent]:
    """Interrupt the steps that are at work, as a signal interrupts one in the main thread; yields their last events.

    Args:
        threads: Those of the steps.
        told: What the steps tell.
        others: Processes that no step waits for.
    """
    left = set(threads)
    for key in left:
        interrupted = ctypes.py_object(dg.DagsterExecutionInterruptedError)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threads[key].ident or 0), interrupted)
    if left:
        _interrupt_children(others)
    while left:
        try:
            key, what = told.get(timeout=_POLL_SECONDS)
        except Empty:
            # What a step told last is lost where the interrupt came while it was taken.
            left = {key for key in left if threads[key].is_alive()}
            continue
        if isinstance(what, dg.DagsterEvent):
            yield what
        else:
            left.discard(key)


def _interrupt_children(others: Set[psutil.Process]) -> None:
    """Interrupt the processes of this process' group that steps have started and may wait for, as Ctrl-C does."""
    for child in set(psutil.Process().children()) - others:
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(child.pid) == os.getpgrp():
                child.send_signal(signal.SIGINT)
