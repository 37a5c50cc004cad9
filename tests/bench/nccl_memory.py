"""What NCCL takes of a device's memory, by cause: one process a device, and what each step in turn adds.

    python3 tests/bench/nccl_memory.py [--devices 2]

Each row is one thing that a run does for the first time: a communicator, its first collective of a kind, its first message from a peer. "rank r" is what
the device of rank r has less of after it, in MiB (cudaMemGetInfo; all ranks have done it). The fields library_mib to target_mib of a
hardware file (docs/planning.md) are read off it. Needs no package: libcudart and libnccl are opened by ctypes.
"""

import argparse
import ctypes
import glob
import multiprocessing as mp

UINT8, FLOAT, DOUBLE, BFLOAT = 1, 7, 8, 9
BYTES = 64 << 20


class Id(ctypes.Structure):
    _fields_ = [("bytes", ctypes.c_char * 128)]


def library(name: str) -> ctypes.CDLL:
    for path in [name, *sorted(glob.glob(f"/usr/local/cuda/lib64/{name}*"))]:
        try:
            return ctypes.CDLL(path)
        except OSError:
            continue
    raise SystemExit(f"no library {name}; put its folder on LD_LIBRARY_PATH")


def cudart() -> ctypes.CDLL:
    for name in ("libcudart.so.13", "libcudart.so.12", "libcudart.so"):
        try:
            return library(name)
        except SystemExit:
            continue
    raise SystemExit("no libcudart; put its folder on LD_LIBRARY_PATH")


class Rank:
    def __init__(self, rank: int, size: int, barrier, ids, results) -> None:
        self.rank, self.size, self.barrier, self.ids, self.results = rank, size, barrier, ids, results
        self.cuda, self.nccl = cudart(), library("libnccl.so.2")
        self.nccl.ncclGetErrorString.restype = ctypes.c_char_p
        self.nccl.ncclCommInitRank.argtypes = [ctypes.c_void_p, ctypes.c_int, Id, ctypes.c_int]
        self.comms = 0
        self.cu(self.cuda.cudaSetDevice(rank))
        self.cu(self.cuda.cudaFree(None))
        self.stream = ctypes.c_void_p()
        self.cu(self.cuda.cudaStreamCreateWithFlags(ctypes.byref(self.stream), 1))
        self.a, self.b = self.buffer(size * BYTES), self.buffer(size * BYTES)
        self.last = self.free()

    def cu(self, status: int) -> None:
        if status != 0:
            raise SystemExit(f"rank {self.rank}: CUDA error {status}")

    def nc(self, status: int) -> None:
        if status != 0:
            raise SystemExit(f"rank {self.rank}: NCCL: {self.nccl.ncclGetErrorString(status).decode()}")

    def buffer(self, size: int) -> ctypes.c_void_p:
        out = ctypes.c_void_p()
        self.cu(self.cuda.cudaMalloc(ctypes.byref(out), ctypes.c_size_t(size)))
        self.cu(self.cuda.cudaMemset(out, 0, ctypes.c_size_t(size)))
        return out

    def free(self) -> int:
        free, total = ctypes.c_size_t(), ctypes.c_size_t()
        self.cu(self.cuda.cudaMemGetInfo(ctypes.byref(free), ctypes.byref(total)))
        return free.value

    def row(self, name: str) -> None:
        self.cu(self.cuda.cudaStreamSynchronize(self.stream))
        self.barrier.wait()
        now = self.free()
        self.results.put((self.rank, name, (self.last - now) / (1 << 20)))
        self.last = now
        self.barrier.wait()

    def join(self, name: str) -> ctypes.c_void_p:
        unique, comm = Id(), ctypes.c_void_p()
        if self.rank == 0:
            self.nc(self.nccl.ncclGetUniqueId(ctypes.byref(unique)))
            for _ in range(self.size - 1):
                self.ids.put(bytes(unique))
        else:
            unique = Id.from_buffer_copy(self.ids.get())
        self.nc(self.nccl.ncclCommInitRank(ctypes.byref(comm), self.size, unique, self.rank))
        self.row(name)
        return comm

    def all_reduce(self, comm, size: int, dtype: int) -> None:
        self.nc(self.nccl.ncclAllReduce(self.a, self.b, ctypes.c_size_t(size), dtype, 0, comm, self.stream))

    def all_gather(self, comm, size: int) -> None:
        self.nc(self.nccl.ncclAllGather(self.a, self.b, ctypes.c_size_t(size // 2), BFLOAT, comm, self.stream))

    def reduce_scatter(self, comm, size: int) -> None:
        self.nc(self.nccl.ncclReduceScatter(self.a, self.b, ctypes.c_size_t(size // 4), FLOAT, 0, comm, self.stream))

    def message(self, comm, source: int, target: int, size: int) -> None:
        if self.rank == source:
            self.nc(self.nccl.ncclSend(self.a, ctypes.c_size_t(size), UINT8, target, comm, self.stream))
        if self.rank == target:
            self.nc(self.nccl.ncclRecv(self.b, ctypes.c_size_t(size), UINT8, source, comm, self.stream))

    def together(self, calls) -> None:
        self.nc(self.nccl.ncclGroupStart())
        for call in calls:
            call()
        self.nc(self.nccl.ncclGroupEnd())

    def captured(self, comm) -> None:
        graph, ready = ctypes.c_void_p(), ctypes.c_void_p()
        self.cu(self.cuda.cudaStreamBeginCapture(self.stream, 1))
        for _ in range(32):
            self.all_gather(comm, BYTES)
            self.reduce_scatter(comm, BYTES)
        self.cu(self.cuda.cudaStreamEndCapture(self.stream, ctypes.byref(graph)))
        self.cu(self.cuda.cudaGraphInstantiate(ctypes.byref(ready), graph, ctypes.c_ulonglong(0)))
        self.cu(self.cuda.cudaGraphLaunch(ready, self.stream))

    def run(self) -> None:
        self.row("(nothing)")
        first = self.join("first communicator")
        self.all_reduce(first, 1, DOUBLE)
        self.row("  all_reduce of 8 bytes")
        self.all_reduce(first, BYTES // 4, FLOAT)
        self.row("  all_reduce of 64 MiB")
        self.all_gather(first, BYTES)
        self.row("  all_gather of 64 MiB each")
        self.reduce_scatter(first, BYTES)
        self.row("  reduce_scatter of 64 MiB each")
        self.together([lambda: self.all_gather(first, BYTES // 8)] * 2)
        self.row("  two all_gathers in a group")
        self.captured(first)
        self.row("  a graph of 64 collectives")
        second = self.join("second communicator")
        self.all_gather(second, BYTES)
        self.row("  all_gather of 64 MiB each")
        self.reduce_scatter(second, BYTES)
        self.row("  reduce_scatter of 64 MiB each")
        self.all_reduce(second, 1, DOUBLE)
        self.row("  all_reduce of 8 bytes")
        third = self.join("third communicator")
        self.message(third, 0, 1, BYTES)
        self.row("  64 MiB from rank 0 to rank 1")
        self.message(third, 1, 0, BYTES)
        self.row("  64 MiB from rank 1 to rank 0")
        self.all_reduce(third, 1, DOUBLE)
        self.row("  all_reduce of 8 bytes")
        fourth = self.join("fourth communicator")
        exchange = [lambda s=s, t=t: self.message(fourth, s, t, BYTES) for s in range(self.size) for t in range(self.size)]
        self.together(exchange)
        self.row("  64 MiB from each to each, itself too")
        fifth = self.join("fifth communicator")
        self.message(fifth, 0, 1, 4096)
        self.row("  4 KiB from rank 0 to rank 1")


def work(*arguments) -> None:
    Rank(*arguments).run()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=2)
    n = parser.parse_args().devices
    context = mp.get_context("spawn")
    barrier, ids, results = context.Barrier(n), context.Queue(), context.Queue()
    ranks = [context.Process(target=work, args=(r, n, barrier, ids, results)) for r in range(n)]
    for process in ranks:
        process.start()
    rows: dict[str, dict[int, float]] = {}
    order, heading = [], ""
    while any(process.is_alive() for process in ranks) or not results.empty():
        if any(process.exitcode not in (None, 0) for process in ranks):
            for process in ranks:
                process.terminate()
            raise SystemExit("a rank failed")
        try:
            rank, name, mib = results.get(timeout=0.2)
        except Exception:  # nothing yet
            continue
        if not name.startswith(" "):
            heading = name
        key = name if not name.startswith(" ") else f"{heading}: {name.strip()}"
        if key not in rows:
            order.append(key)
        rows.setdefault(key, {})[rank] = mib
    if any(process.exitcode != 0 for process in ranks):
        raise SystemExit("a rank failed")
    print(f"{'MiB':60}" + "".join(f"{'rank ' + str(r):>12}" for r in range(n)))
    for key in order:
        print(f"{key:60}" + "".join(f"{rows[key].get(r, float('nan')):12.1f}" for r in range(n)))


if __name__ == "__main__":
    main()
