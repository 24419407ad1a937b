"""Trials in processes of their own, each with a limit of time, forked from one that has imported all."""
import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

PRELOADED = ['torch', 'torchvision', 'timm', 'transformers', 'transformers.modeling_utils', 'zoo.trial']


def prepare():
    "The context to start processes in."
    folder = str(Path(__file__).parent.parent)
    os.environ['PYTHONPATH'] = os.pathsep.join([folder, *filter(None, [os.environ.get('PYTHONPATH')])])
    os.environ |= dict(OMP_NUM_THREADS='1', HF_HUB_OFFLINE='1', TRANSFORMERS_VERBOSITY='error')
    context = multiprocessing.get_context('forkserver')
    context.set_forkserver_preload(PRELOADED)
    return context


def _answer(sender, function, arguments):
    "In the process: the answer, or the error in words."
    try: answer = function(*arguments)
    except BaseException as error:
        answer = dict(verdict='no trial', message=f'{type(error).__name__}: {error}'[:400])
    sender.send(answer)


def in_a_process(context, limit: float, function: Callable, *arguments) -> dict:
    "What the function gives, or how its process ended."
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_answer, args=(sender, function, arguments))
    start = time.perf_counter()
    process.start()
    sender.close()
    try:
        if receiver.poll(limit): return receiver.recv()
        return dict(verdict='too slow', seconds=time.perf_counter() - start)
    except EOFError:
        process.join(10)
        return dict(verdict='died', message=f'exit code {process.exitcode}')
    finally:
        process.kill()
        process.join()


def run_all(calls: Iterable, jobs: int, limit: float, function: Callable) -> Iterator[tuple]:
    "Each call's arguments with its answer, as they are done."
    context = prepare()
    with ThreadPoolExecutor(jobs) as pool:
        futures = {pool.submit(in_a_process, context, limit, function, *call): call for call in calls}
        for future in as_completed(futures): yield futures[future], future.result()
