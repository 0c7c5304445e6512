// The doors that Python opens with ctypes: each launches one kernel on a stream and returns CUDA's error code. They
// allocate nothing and wait for nothing, so they can be captured in a graph.
#include <algorithm>

#include "dispatch.h"

namespace onesec::cuda {
namespace {

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  if (cudaGetDevice(&device) != cudaSuccess || cudaDeviceGetAttribute(&value, which, device) != cudaSuccess) return 0;
  return value;
}

// Percent of a multiprocessor's memory that are shared while a step of so many rows runs; the others are its cache, where what
// several rows read has to fit. All kernels of a step agree, or one could not begin where another still runs; since this
// belongs to a kernel and not to its launch, steps of one row have kernels of their own. No rows: as the driver likes it.
int shared_percent(int rows) { return rows > 1 ? 71 : rows == 1 ? 100 : cudaSharedmemCarveoutDefault; }

// `dependent`: the kernel may start while the one before it still runs; it waits where it reads that one's results.
// Blocks come in clusters of `cluster`, where the kernel does not say so itself.
template <class Kernel, class Arguments>
cudaError_t launch(Kernel kernel, const Arguments& arguments, int blocks, int threads, size_t shared, bool dependent, void* stream, int cluster = 1) {
  cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, shared_percent(arguments.rows));
  if (error == cudaSuccess && shared > 48 * 1024) error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
  if (error != cudaSuccess) return error;
  cudaLaunchAttribute attributes[2]{};
  unsigned count = 0;
  if (dependent) {
    attributes[count].id = cudaLaunchAttributeProgrammaticStreamSerialization;
    attributes[count++].val.programmaticStreamSerializationAllowed = 1;
  }
  if (cluster > 1) {
    attributes[count].id = cudaLaunchAttributeClusterDimension;
    attributes[count++].val.clusterDim = {static_cast<unsigned>(cluster), 1, 1};
  }
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = attributes;
  config.numAttrs = count;
  return cudaLaunchKernelEx(&config, kernel, arguments);
}

}  // namespace
}  // namespace onesec::cuda

using namespace onesec::cuda;

// At most `per_multiprocessor` blocks are meant to be on each of the GPU's multiprocessors.
extern "C" int onesec_product(const Product* p, int format, int per_multiprocessor, int dependent, void* stream) {
  return launch_product(*p, Format(format), [&](auto kernel, Needs needs) {
    needs.resident = std::min(needs.resident, per_multiprocessor);
    const auto shared = size_t(attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor)) * size_t(shared_percent(p->rows)) / 100;
    const Plan made = plan(*p, needs, attribute(cudaDevAttrMultiProcessorCount), shared);
    return int(launch(kernel, made.product, made.blocks, kBlockThreads, made.shared, dependent != 0, stream, p->paired ? kPair : 1));
  });
}

extern "C" int64_t onesec_shared_floats(const Product* p, int format) { return int64_t(shared_floats(*p, Format(format))); }

// The rows of x, normed, in the form that products of `format` read: into `feed`.
extern "C" int onesec_prepare(const Product* p, int format, int dependent, void* stream) {
  return launch_prepare(*p, Format(format), [&](auto kernel, size_t shared) {
    return int(launch(kernel, *p, p->rows, kThreads, shared, dependent != 0, stream));
  });
}

// The planes at `width` as values of `form`, bf16 or half: into `feed` [rows][cols].
extern "C" int onesec_open(const Product* p, int width, int form, void* stream) {
  const auto run = [&](auto kernel) { return int(launch(kernel, *p, open_blocks(*p), kThreads, 0, false, stream)); };
  return Format(form) == Format::bf16 ? launch_open<Bf16>(Format(width), run) : launch_open<Half>(Format(width), run);
}

extern "C" int onesec_attention(const Attention* a, int dependent, void* stream) {
  return launch_attention(*a, [&](auto kernel, int blocks, int threads, size_t shared) {
    return int(launch(kernel, *a, blocks, threads, shared, dependent != 0, stream));
  });
}

// 0 where these kernels run on the current device with its driver.
extern "C" int onesec_ready() {
  cudaFuncAttributes unused;
  return int(cudaFuncGetAttributes(&unused, open_planes<Bf16, 4>));
}

extern "C" int onesec_product_bytes() { return int(sizeof(Product)); }
extern "C" int onesec_attention_bytes() { return int(sizeof(Attention)); }

extern "C" const char* onesec_error(int code) { return cudaGetErrorString(static_cast<cudaError_t>(code)); }
