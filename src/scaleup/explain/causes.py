"""The causes that are known: the sign in a log, what it means, what to do first, how to prevent it.

Each row brings an example, a line that must be read as this cause and no other: the tests try every one.
`level` orders what one log shows: SURE says what happened, LIKELY has several possible reasons, SYMPTOM is
what ranks report that waited for another, REMARK explains a slow run and no failed one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cached_property

SURE, LIKELY, SYMPTOM, REMARK = range(4)
WORDS = {SURE: "the log says so", LIKELY: "likely", SYMPTOM: "only a symptom", REMARK: "a remark"}


@dataclass(frozen=True)
class Cause:
    """A row: `sign` is a regular expression for one line of a log, `example` such a line."""

    name: str
    title: str
    level: int
    sign: str
    first: str
    prevent: str
    example: str

    @cached_property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(self.sign)


CAUSES = (
    # ---------------------------------------------------------------- memory
    Cause(
        "device-memory",
        "A device ran out of memory",
        SURE,
        r"(CUDA|HIP) out of memory|OutOfMemoryError|(CUDA|hip)_?ERROR_?OUT_?OF_?MEMORY|hipErrorOutOfMemory"
        r"|CUBLAS_STATUS_ALLOC_FAILED|Cuda failure.*out of memory",
        "halve the micro-batch and double the accumulation: the global batch stays",
        "predict the memory first (scaleup plan), and log its peak per rank",
        "[rank2]: torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB.",
    ),
    Cause(
        "host-memory",
        "The node's memory, or the job's share of it, ran out",
        SURE,
        r"oom[-_]kill|task \d+: Out Of Memory|exceeded (job |step )?memory limit"
        r"|Out of memory: Killed process"
        r"|DefaultCPUAllocator: (can't allocate|not enough) memory|^(\[rank\d+\]: )?MemoryError"
        r"|Cannot allocate memory",
        "ask for more with --mem, or start fewer loader workers: each may hold a copy of the data set",
        "read data through a memory map, and keep an eye on the resident size per process",
        "slurmstepd: error: Detected 1 oom_kill event in StepId=4411.0. Some of the step tasks have been "
        "OOM Killed.",
    ),
    Cause(
        "shared-memory",
        "The loader's workers ran out of shared memory (/dev/shm)",
        SURE,
        r"out of shared memory|insufficient shared memory|unable to (open|write to|allocate) shared memory",
        "bind /dev/shm into the container, or make it larger; until then fewer workers or smaller batches",
        "look at df -h /dev/shm inside the container in the smoke test",
        "RuntimeError: DataLoader worker (pid 71) is killed by signal: Bus error. It is possible that "
        "dataloader's workers are out of shared memory. Please try to raise your shared memory limit.",
    ),
    Cause(
        "bus-error",
        "A process reached for memory that was not there: /dev/shm is full, or a mapped file has gone",
        LIKELY,
        r"killed by signal: Bus error(?!.*shared memory)|exitcode\s*: -7\b|SIGBUS|task \d+: Bus error",
        "look at df -h /dev/shm while it runs; if there is room, at the file system of the mapped data",
        "enough shared memory in the container; data and environment on the node's own disk",
        "failed (exitcode: -7) local_rank: 1 (pid: 5528) of binary: /opt/env/bin/python",
    ),
    Cause(
        "killed",
        "A process was killed from outside (SIGKILL), most often because memory ran out",
        LIKELY,
        r"exitcode\s*: -9\b|Signal 9 \(SIGKILL\)|terminated with signal SIGKILL"
        r"|killed by signal: Killed|^Killed$|task \d+: Killed$"
        r"|exit code 137\b",
        "ask for its memory: sacct -j JOB --format=JobID,State,MaxRSS, and the node's kernel log",
        "log the resident size per rank; whoever kills on purpose should say so",
        "ERROR:torch.distributed.elastic.multiprocessing.api:failed (exitcode: -9) local_rank: 0 (pid: 241)",
    ),
    # ---------------------------------------------------------------- devices
    Cause(
        "device-lost",
        "A device or its connection to the node failed",
        SURE,
        r"Xid .*: (79|119|120)\b|fallen off the bus|Unable to determine the device handle|GPU is lost",
        "start again without this node (--exclude=NODE) and report it to the site",
        "checkpoint often enough; keep a list of nodes to leave out",
        "NVRM: Xid (PCI:0000:06:00): 79, GPU has fallen off the bus.",
    ),
    Cause(
        "device-memory-fault",
        "A device's memory is faulty (an error that ECC could not correct)",
        SURE,
        r"uncorrectable ECC|Xid .*: (48|63|64|94|95)\b|ECC_UNCORRECTABLE",
        "start again without this node (--exclude=NODE) and report it to the site",
        "nothing in your program; checkpoint often enough",
        "RuntimeError: CUDA error: uncorrectable ECC error encountered",
    ),
    Cause(
        "device-assert",
        "A kernel was given an index outside its table",
        SURE,
        r"device-side assert|block: \[\d+,\d+,\d+\], thread: \[\d+,\d+,\d+\] Assertion",
        "run the same batch on the CPU: there the exception names the line and the index",
        "compare token numbers with the size of the vocabulary, labels with the number of classes",
        "RuntimeError: CUDA error: device-side assert triggered",
    ),
    Cause(
        "device-address-fault",
        "A kernel read or wrote outside its memory",
        LIKELY,
        r"illegal memory access|misaligned address|Memory access fault by GPU|Xid .*: (13|31)\b",
        "run again with CUDA_LAUNCH_BLOCKING=1 (AMD_SERIALIZE_KERNEL=3) to get the call; if it moves between "
        "nodes it is the program, if it stays on one it is the device",
        "change one kernel library at a time, and keep the versions in the run's record",
        "Memory access fault by GPU node-1 (Agent handle: 0x1) on address 0x7a. Reason: Page not present.",
    ),
    Cause(
        "device-busy",
        "Another process holds the device",
        SURE,
        r"CUDA-capable devices? ?(\(s\) is/are|are) busy or unavailable",
        "look who is on it (nvidia-smi); on a shared node ask for whole devices in the header",
        "one process per device; end what an earlier job left",
        "RuntimeError: CUDA error: CUDA-capable device(s) is/are busy or unavailable",
    ),
    Cause(
        "no-device",
        "The process sees no device, or not the one it asked for",
        SURE,
        r"No (CUDA|HIP) GPUs are available|no (CUDA|ROCm)-capable device|invalid device ordinal"
        r"|Found no NVIDIA driver|driver version is insufficient",
        "print CUDA_VISIBLE_DEVICES (ROCR_VISIBLE_DEVICES) and LOCAL_RANK in the failing task",
        "one task sees either its own device as number 0, or all of them: choose one way",
        "RuntimeError: No CUDA GPUs are available",
    ),
    Cause(
        "same-device",
        "Two ranks use one device",
        SURE,
        r"Duplicate GPU detected",
        "call torch.cuda.set_device(LOCAL_RANK) before the first collective",
        "print host, rank and device of every rank at the start",
        "Duplicate GPU detected : rank 1 and rank 0 both on CUDA device 10",
    ),
    Cause(
        "wrong-build",
        "The program was built for another device or processor",
        SURE,
        r"no kernel image is available|invalid device function|Exec format error|cannot execute binary file"
        r"|GLIBC_[\d.]+' not found",
        "print torch.cuda.get_arch_list() and uname -m on a compute node, and install the fitting build",
        "build on a compute node; keep the container's recipe",
        "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    ),
    Cause(
        "kernel-cache",
        "Processes share a cache of compiled kernels on a file system that does not keep them apart",
        LIKELY,
        r"accessing SQLite database|sqlite_db\.cpp|Db lock has failed|miopen.*(database is locked|ufdb)"
        r"|(FileNotFound|Permission)Error: .*(\.triton|triton_cache|torchinductor|inductor_cache)",
        "put the cache into a folder of the node's /tmp: MIOPEN_USER_DB_PATH and MIOPEN_CUSTOM_CACHE_DIR, or "
        "TRITON_CACHE_DIR and TORCHINDUCTOR_CACHE_DIR",
        "have these lines in every job script",
        "kern_db.hpp:147: Internal error while accessing SQLite database: locking protocol",
    ),
    Cause(
        "port-taken",
        "The port of the rendezvous belongs to another process, often of an earlier job",
        SURE,
        r"EADDRINUSE|[Aa]ddress already in use",
        "make the port from the job's number: MASTER_PORT=$((10000 + SLURM_JOB_ID % 10000))",
        "no fixed port in a script; end what an earlier job left on the node",
        "The server socket has failed to bind to [::]:29500 (errno: 98 - Address already in use).",
    ),
    Cause(
        "unknown-host",
        "The address of the rendezvous cannot be looked up or reached",
        SURE,
        r"^(?!\[W).*(Name or service not known|Temporary failure in name resolution"
        r"|cannot be retrieved \(gai)"
        r"|failed to connect to any network address",
        "print the address in quotes: a space or a line end at its end is enough",
        "take it from scontrol show hostnames, in the batch script",
        "[c10d] The client socket has failed to connect to any network address of (node1 , 29500).",
    ),
    Cause(
        "wrong-interface",
        "The ranks use a network interface that does not lead to the other node",
        SURE,
        r"(connectFullMesh|timed out connecting).*remote=\[(127\.|::1)|no socket interface found"
        r"|neither AF_INET\(2\)|Unable to find address for: ",
        "set GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the interface of the fast network",
        "take the names from the machine's page; run the smoke test on two nodes first",
        "Gloo connectFullMesh failed with timed out connecting: SO_ERROR: Connection refused, "
        "remote=[127.0.0.1]:4411",
    ),
    Cause(
        "no-meeting",
        "Not all processes came to the rendezvous",
        LIKELY,
        r"client socket has timed out|connect\(\) timed out|RendezvousTimeoutError|\d+/\d+ clients joined",
        "do all tasks print the same address, port and --rdzv-id, and are they as many as --nnodes?",
        "work out the address in the batch script; run the smoke test first",
        "torch.distributed.elastic.rendezvous.api.RendezvousTimeoutError",
    ),
    # ---------------------------------------------------------------- collectives
    Cause(
        "mismatched-collective",
        "The ranks did not make the same collective call",
        SURE,
        r"Detected mismatch between collectives|Mismatched collective detected"
        r"|op\.preamble\.length <= op\.nbytes|received data size doesn't match expected size",
        "compare the two calls in this line; look for an `if` on the rank, or uneven data",
        "run a short test with TORCH_DISTRIBUTED_DEBUG=DETAIL; no collective inside `if rank == 0`",
        "RuntimeError: Detected mismatch between collectives on ranks. Rank 1 is running collective: "
        "CollectiveFingerPrint(SequenceNumber=21, OpType=BROADCAST), but Rank 0 is running ALLREDUCE",
    ),
    Cause(
        "unused-parameters",
        "DDP waits for gradients of parameters that the loss does not use",
        SURE,
        r"Expected to have finished reduction in the prior iteration",
        "find them: TORCH_DISTRIBUTED_DEBUG=DETAIL prints their names",
        "use every parameter on every rank, or say find_unused_parameters=True and pay for it",
        "RuntimeError: Expected to have finished reduction in the prior iteration before starting a new one.",
    ),
    Cause(
        "network-fault",
        "The network between two nodes failed",
        SURE,
        r"Got completion from peer .*(status=(?!0\b)|with error )\d+|IBV_WC_\w+_ERR|OFI poll failed"
        r"|transport retry counter exceeded|NET/OFI .*(error|failed)|Communication connection failure",
        "repeat on other nodes: if it stays with a node, leave it out (--exclude=NODE) and report it",
        "run the smoke test at the job's start; NCCL_IB_TIMEOUT gives a busy network more time",
        "NCCL WARN NET/IB : Got completion from peer 10.0.0.7<4420> with status=12 opcode=0 vendor err 129",
    ),
    Cause(
        "hang",
        "Ranks waited in a collective for a rank that never came",
        SYMPTOM,
        r"Watchdog caught collective operation timeout|Timed out waiting \d+ms for (recv|send) operation"
        r"|collective operation timeout",
        "find the rank that is NOT among those that time out, and read its log just before",
        "record the collectives (TORCH_FR_BUFFER_SIZE) and write stacks (faulthandler) before the time-out",
        "[Rank 3] Watchdog caught collective operation timeout: WorkNCCL(SeqNum=5, OpType=ALLREDUCE)",
    ),
    Cause(
        "lost-contact",
        "A rank lost contact with another one, which had ended",
        SYMPTOM,
        r"Connection closed by (remote )?peer|Connection reset by peer|Broken pipe|ncclRemoteError"
        r"|Rendezvous(Connection|Closed)Error|(recvVector|sendBytes) failed on SocketImpl"
        r"|remote process exited",
        "look for the rank that ended first: its log has the cause",
        "one log per rank (torchrun --log-dir=… --redirects=3)",
        "RuntimeError: [pair.cc:547] Connection closed by peer [10.0.0.2]:4410",
    ),
    # ---------------------------------------------------------------- numbers
    Cause(
        "not-a-number",
        "The loss or a gradient is not a number any more",
        LIKELY,
        r"(?i)\b(loss|grad[ _-]?norm)\b['\"]?\s*[:=|]?\s*(nan|-?inf(inity)?)\b"
        r"|loss (is|became) nan|loss scale already at minimum",
        "find the first step and the first rank: look at each rank's own gradient before the all-reduce",
        "skip or stop on a gradient that is not finite, before the optimizer's step",
        "step 120 | loss 7.3 | grad norm: nan",
    ),
    Cause(
        "silent-corruption",
        "Copies that must be equal differ between ranks",
        SURE,
        r"checksums? (of \S+ )?differs?\b|parameters differ between ranks",
        "stop, go back to the last checkpoint whose checksums agree, and leave the node of that rank out",
        "compare checksums of the parameters between ranks every some hundred steps",
        "rank 3: the checksum differs from the other ranks' at step 400",
    ),
    # ---------------------------------------------------------------- files
    Cause(
        "disk-full",
        "The file system is full",
        SURE,
        r"No space left on device|StorageFull|\bENOSPC\b|\[Errno 28\]|File too large"
        r"|File size limit exceeded",
        "make room (df -h; df -i counts files), then load the checkpoint BEFORE the broken one",
        "keep the last few checkpoints; write to another name, then rename",
        "OSError: [Errno 28] No space left on device",
    ),
    Cause(
        "quota",
        "A quota is used up: bytes, or the number of files",
        SURE,
        r"[Dd]isk quota exceeded|\bEDQUOT\b|\[Errno 122\]",
        "ask the site's quota command for both limits; a full number of files is the usual one",
        "put caches and environments into one file (a container), and away from home",
        "OSError: [Errno 122] Disk quota exceeded: '/scratch/me/.cache/x'",
    ),
    Cause(
        "checkpoint-write",
        "A checkpoint could not be written, usually for want of room",
        LIKELY,
        r"PytorchStreamWriter failed|inline_container.*unexpected pos|basic_ios::clear: iostream error",
        "look at df -h, df -i and the quota; the file that was written is broken",
        "write to another name, then rename; check the room before the run",
        "RuntimeError: [enforce fail at inline_container.cc:857] . PytorchStreamWriter failed writing file "
        "data/37: file write failed",
    ),
    Cause(
        "broken-checkpoint",
        "A checkpoint is incomplete or damaged",
        SURE,
        r"PytorchStreamReader failed|finding central directory|HeaderTooLarge|MetadataIncompleteBuffer"
        r"|InvalidHeaderDeserialization|UnpicklingError|not a ZIP archive|unexpected EOF, expected"
        r"|EOFError: Ran out of input"
        r"|checksum of .*(does not match|is not)",
        "load the one before it, and look why this one is short: a full disk, or a kill while saving",
        "write to another name, then rename; store a checksum and compare it when loading",
        "RuntimeError: PytorchStreamReader failed reading zip archive: failed finding central directory",
    ),
    Cause(
        "open-files",
        "The process has too many files open",
        SURE,
        r"Too many open files|received 0 items of ancdata|\[Errno 24\]",
        "ulimit -n 65536 in the job script, or the loader's sharing strategy file_system",
        "few large files instead of many small ones",
        "OSError: [Errno 24] Too many open files",
    ),
    Cause(
        "file-system",
        "The file system gave up on a file",
        LIKELY,
        r"Stale file handle|\[Errno 116\]|\[Errno 5\] Input/output error|Transport endpoint is not connected",
        "look at the site's status page, then start again from the last checkpoint",
        "copy the environment to the node's own disk or into one file",
        "OSError: [Errno 116] Stale file handle: '/project/data/shard-3.bin'",
    ),
    Cause(
        "offline",
        "The compute node has no internet, and a file was not in the cache",
        SURE,
        r"outgoing traffic has been disabled|offline mode is enabled|LocalEntryNotFoundError"
        r"|Max retries exceeded with url",
        "download it on a login node into the folder that HF_HOME names, then set HF_HUB_OFFLINE=1",
        "run the first step once with HF_HUB_OFFLINE=1 before the long job",
        "LocalEntryNotFoundError: Cannot find an appropriate cached snapshot folder and outgoing traffic has "
        "been disabled",
    ),
    # ---------------------------------------------------------------- Slurm, the rest
    Cause(
        "node-failure",
        "A node failed",
        SURE,
        r"NODE[ _]FAIL|[Nn]ode failure on",
        "Slurm starts a job with --requeue again by itself; resume from the checkpoint",
        "--requeue, --open-mode=append, and checkpoints that a restart finds by itself",
        "slurmstepd: error: *** JOB 71 ON node2 CANCELLED AT 2026-11-27T10:00:00 DUE TO NODE FAILURE, SEE "
        "SLURMCTLD LOG FOR DETAILS ***",
    ),
    Cause(
        "preempted",
        "The job had to give way to another one",
        SURE,
        r"DUE TO PREEMPTION|\bPREEMPTED\b",
        "nothing: with --requeue it starts again; resume from the checkpoint",
        "save at the signal that comes before, or choose a queue without preemption",
        "slurmstepd: error: *** JOB 71 ON node2 CANCELLED AT 2026-11-27T10:00:00 DUE TO PREEMPTION ***",
    ),
    Cause(
        "time-limit",
        "The job's time was up",
        SURE,
        r"DUE TO TIME LIMIT",
        "submit it again: it should resume from its last checkpoint",
        "--signal=B:USR1@300, save at the signal, and submit jobs as a chain",
        "slurmstepd: error: *** JOB 71 ON node2 CANCELLED AT 2026-11-27T10:00:00 DUE TO TIME LIMIT ***",
    ),
    Cause(
        "step-refused",
        "Slurm refused to start a step or a job",
        SURE,
        r"(srun|sbatch|salloc): error: (Unable to (create step|allocate)|Batch job submission failed"
        r"|Task launch)",
        "compare the numbers of this srun with those of the job's header",
        "scaleup practice check JOB --machine NAME, before you submit",
        "srun: error: Unable to create step for job 4411: More processors requested than permitted",
    ),
    Cause(
        "crashed",
        "A process crashed in native code",
        LIKELY,
        r"exitcode\s*: -(11|4)\b|SIGSEGV|[Ss]egmentation fault"
        r"|task \d+: Segmentation fault",
        "run again with python -X faulthandler: it writes the line in which it happens",
        "one set of versions that fit together; change one at a time",
        "failed (exitcode: -11) local_rank: 1 (pid: 5528) of binary: /opt/env/bin/python",
    ),
    Cause(
        "slow-network",
        "NCCL uses plain TCP instead of the fast network",
        REMARK,
        r"Using network Socket|NET/Plugin ?: No plugin found",
        "load the site's plug-in, or the container that brings it, and look for its name in this line",
        "read this line of NCCL_DEBUG=INFO in every smoke test",
        "node1:71:71 [0] NCCL INFO Using network Socket",
    ),
)

BY_NAME = {cause.name: cause for cause in CAUSES}

# {a cause: those that explain it if the log shows them earlier}: a hang ends at the time limit.
FOLLOWS = {
    "time-limit": {"hang", "lost-contact"},
    "broken-checkpoint": {"checkpoint-write", "disk-full", "quota", "killed", "time-limit"},
}

# What ranks, torchrun and Slurm say because something else failed: never a cause.
AFTERMATH = re.compile(
    r"closing signal SIGTERM|via signal SIGTERM|exitcode\s*: -(15|6)\b|death signal|SignalException"
    r"|forcefully exit|ChildFailedError|Job step aborted|Terminating job step|Exited with exit code"
    r"|task.*: (Terminated|Aborted)$"
    r"|taking the entire process down|Service thread\] Connection closed|run on corrupted/incomplete data"
    r"|CANCELLED AT [\dT:-]+ \*\*\*|FAILED with no error file|detected by watchdog at work"
)
