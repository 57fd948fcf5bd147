"""The executor of a run: it runs two steps at once, in threads of one process.

Dagster's `in_process_executor` runs one step after the other, and a core idles while a step waits for the disk, for
Postgres or for Python. Its `multiprocess_executor` starts a process for each step, which takes seconds. This executor
starts a second step while the first one runs. Dagster still decides which steps are ready, and handles their outcomes,
events, retries and pools.
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

# Parts of Dagster's own executors, because there is no public way to control how the steps of a plan are executed.
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

# Number of concurrent steps. A step uses all cores while it computes; the second one uses them while the first waits.
STEPS_AT_ONCE = 2
# Seconds between two looks for a step that may start now, after it waited for a pool slot or a retry.
_POLL_SECONDS = 0.5

# Message of a step's thread: key of the step, and an event; the last one has the error that ended the step, or None.
_Message = tuple[str, dg.DagsterEvent | BaseException | None]


class ThreadsExecutor(dg.Executor):
    """Executes the steps of a run in threads of this process, `STEPS_AT_ONCE` at a time."""

    @property
    def retries(self) -> RetryMode:
        """Return the mode in which a step may request a retry."""
        return RetryMode.ENABLED

    @property
    def step_dependency_config(self) -> StepDependencyConfig:
        """Return the default: a step waits for the end of the steps before it."""
        return StepDependencyConfig.default()

    def execute(self, plan_context: Any, execution_plan: Any) -> Iterator[dg.DagsterEvent]:
        """Execute the steps of a plan, and yield their events as they come."""
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
    def retries(self) -> Any:  # the type is private in Dagster
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


# Function to call before the first step of a run, and one to call after its last step: instance, run, its checks.
Before = Callable[[dg.DagsterInstance, str], object]
After = Callable[[dg.DagsterInstance, str, Collection[dg.AssetCheckKey]], object]


def around(definition: dg.ExecutorDefinition, *, before: Before | None = None, after: After) -> dg.ExecutorDefinition:
    """Return the executor with a call before the first step of a run and one after its last, also if the run failed."""
    create = definition.executor_creation_fn
    if create is None:
        raise TypeError(f"the executor {definition.name} cannot be made in this process")
    return dg.ExecutorDefinition(
        name=definition.name,
        config_schema=definition.config_schema,  # type: ignore[arg-type]  # its own type is accepted
        requirements=definition.get_requirements,
        executor_creation_fn=lambda context: _Around(create(context), before, after),
        description=definition.description,
    )


@dg.executor(name="threads")
def threads_executor(_: dg.InitExecutorContext) -> dg.Executor:
    """Execute two steps at once, in threads of the run's process."""
    return ThreadsExecutor()


def execute_here(
    job: dg.JobDefinition,
    instance: dg.DagsterInstance,
    run_id: str | None = None,
    run_config: Mapping[str, Any] | None = None,
    tags: Mapping[str, str] | None = None,
) -> dg.JobExecutionResult:
    """Execute a job in this process with its own executor, which `JobDefinition.execute_in_process` would replace.

    Args:
        job: The job, with an executor that needs no other process.
        instance: Instance that stores the run.
        run_id: Id of the run; a new one if not given.
        run_config: Configuration of the run.
        tags: Tags of the run, in addition to those of the job.
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
    """Capture the output of this process for the UI, until the stack closes."""
    manager, step_keys = job_context.instance.compute_log_manager, execution_plan.step_keys_to_execute
    file_key: str = create_compute_log_file_key()  # type: ignore[no-untyped-call]
    key = manager.build_log_key_for_run(job_context.run_id, file_key)
    try:
        context = stack.enter_context(manager.capture_logs(key))
        yield dg.DagsterEvent.capture_logs(job_context, step_keys, key, context)
    except Exception:  # noqa: BLE001 (as Dagster does: a run goes on without)
        yield from _handle_compute_log_setup_error(job_context, sys.exc_info())


def _work(job_context: Any, active: Any) -> Iterator[dg.DagsterEvent]:
    """Start steps as they get ready, and yield their events, until none is left."""
    messages: SimpleQueue[_Message] = SimpleQueue()
    threads: dict[str, threading.Thread] = {}
    contexts: dict[str, Any] = {}
    of_step: dict[str, list[dg.DagsterEvent]] = defaultdict(list)
    # Child processes that no step has started, such as those that capture the output.
    children = set(psutil.Process().children())
    try:
        while not active.is_complete:
            for step in active.get_steps_to_execute():
                contexts[step.key] = job_context.for_step(step, active.get_known_state())
                threads[step.key] = _start(step.key, contexts[step.key], messages)
            yield from active.concurrency_event_iterator(job_context)
            for key, message in _next(messages):
                if isinstance(message, dg.DagsterEvent):
                    of_step[key].append(message)
                    yield message
                    active.handle_event(message)
                    continue
                del threads[key]
                if message is not None:
                    raise message
                active.verify_complete(job_context, key)
                yield from _trigger_hook(contexts.pop(key), of_step.pop(key, []))
            yield from active.plan_events_iterator(job_context)
    except BaseException:
        for event in _end(threads, messages, children):
            yield event
            # A step that ends frees its slot of a pool.
            active.handle_event(event)
        raise


def _next(messages: "SimpleQueue[_Message]") -> Iterator[_Message]:
    """Yield the messages of steps; nothing if none comes in time. An interrupt of the run is raised here."""
    try:
        with raise_interrupts_as(dg.DagsterExecutionInterruptedError):
            first = messages.get(timeout=_POLL_SECONDS)
    except Empty:
        return
    yield first
    with suppress(Empty):
        while True:
            yield messages.get_nowait()


def _start(key: str, context: Any, messages: "SimpleQueue[_Message]") -> threading.Thread:
    def work() -> None:
        error = None
        try:
            for event in dagster_event_sequence_for_step(context):
                messages.put((key, event))
        except BaseException as raised:  # noqa: BLE001 (raised again where the run is executed)
            error = raised
        messages.put((key, error))

    # A daemon thread does not delay a process that ends for another reason.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(work,), name=key, daemon=True)
    thread.start()
    return thread


def _end(
    threads: Mapping[str, threading.Thread], messages: "SimpleQueue[_Message]", others: Set[psutil.Process]
) -> Iterator[dg.DagsterEvent]:
    """Interrupt the running steps, as a signal interrupts one in the main thread, and yield their last events.

    Args:
        threads: Threads of the steps.
        messages: Queue of the steps' messages.
        others: Child processes that no step waits for.
    """
    left = set(threads)
    for key in left:
        interrupted = ctypes.py_object(dg.DagsterExecutionInterruptedError)
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threads[key].ident or 0), interrupted)
    if left:
        _interrupt_children(others)
    while left:
        try:
            key, message = messages.get(timeout=_POLL_SECONDS)
        except Empty:
            # An interrupt during `get` may have lost the last message of a step.
            left = {key for key in left if threads[key].is_alive()}
            continue
        if isinstance(message, dg.DagsterEvent):
            yield message
        else:
            left.discard(key)


def _interrupt_children(others: Set[psutil.Process]) -> None:
    """Interrupt the child processes of steps in this process group, as Ctrl-C does, because steps may wait for them."""
    for child in set(psutil.Process().children()) - others:
        with suppress(ProcessLookupError, psutil.NoSuchProcess):
            if os.getpgid(child.pid) == os.getpgrp():
                child.send_signal(signal.SIGINT)
