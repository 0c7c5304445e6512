"""llama.cpp's own server from a wheel that carries it (xllamacpp), under llama-server's arguments:
for machines on which building llama.cpp takes too long. Runs in that wheel's Python, and knows
nothing of OneSec. Its arithmetic is chosen at build time for many processors, so a native build may
be faster; the record tells which one was measured.
"""

import argparse
import threading

import xllamacpp


def main() -> None:
    ap = argparse.ArgumentParser(description=__doc__)
    ap.add_argument("-m", dest="model", required=True)
    ap.add_argument("-t", dest="threads", type=int, required=True)
    ap.add_argument("-tb", dest="batch_threads", type=int, required=True)
    ap.add_argument("-c", dest="context", type=int, required=True)
    ap.add_argument("-np", dest="slots", type=int, required=True)
    ap.add_argument("--offline", action="store_true")
    ap.add_argument("--host", required=True)
    ap.add_argument("--port", type=int, required=True)
    args = ap.parse_args()
    params = xllamacpp.CommonParams()
    params.model.path = args.model
    params.cpuparams.n_threads = args.threads
    params.cpuparams_batch.n_threads = args.batch_threads
    params.n_ctx, params.n_parallel = args.context, args.slots
    params.offline, params.hostnames, params.port = args.offline, [args.host], args.port
    server = xllamacpp.Server(params)  # serves from threads of its own, as long as it lives
    threading.Event().wait()
    del server


if __name__ == "__main__":
    main()
