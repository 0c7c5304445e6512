// The doors that Python opens with ctypes: each launches one kernel on a stream and returns CUDA's error code. They
// allocate nothing and wait for nothing, so they can be captured in a graph.
#include <algorithm>

#include "dispatch.h"

namespace onesec::cuda {
namespace {

// `dependent`: the kernel may start while the one before it still runs; it waits where it reads that one's results.
template <class Kernel, class Arguments>
cudaError_t launch(Kernel kernel, const Arguments& arguments, int blocks, int threads, size_t shared, bool dependent, void* stream) {
  if (shared > 48 * 1024) {
    const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared));
    if (error != cudaSuccess) return error;
  }
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(static_cast<unsigned>(blocks));
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared;
  config.stream = static_cast<cudaStream_t>(stream);
  config.attrs = &attribute;
  config.numAttrs = dependent ? 1 : 0;
  return cudaLaunchKernelEx(&config, kernel, arguments);
}

int attribute(cudaDeviceAttr which) {
  int device = 0, value = 0;
  if (cudaGetDevice(&device) != cudaSuccess || cudaDeviceGetAttribute(&value, which, device) != cudaSuccess) return 0;
  return value;
}

}  // namespace
}  // namespace onesec::cuda

using namespace onesec::cuda;

// Blocks walk over the tiles: as many as are resident at once, at most `per_multiprocessor` on each.
extern "C" int onesec_product(const Product* p, int format, int per_multiprocessor, int dependent, void* stream) {
  return launch_product(*p, Format(format), [&](auto kernel, size_t shared) {
    const int fit = static_cast<int>(size_t(attribute(cudaDevAttrMaxSharedMemoryPerMultiprocessor)) / (shared + 1024));
    const int resident = attribute(cudaDevAttrMultiProcessorCount) * std::max(1, std::min(fit, per_multiprocessor));
    const int blocks = std::max(1, std::min(p->units * tiles_of_unit(*p), resident));
    return int(launch(kernel, share_units(*p, blocks), blocks, kBlockThreads, shared, dependent != 0, stream));
  });
}

extern "C" int64_t onesec_shared_floats(const Product* p, int format) { return int64_t(shared_floats(*p, Format(format))); }

// The rows of x, normed, in the form that products of `format` read: into `feed`.
extern "C" int onesec_prepare(const Product* p, int format, int dependent, void* stream) {
  return launch_prepare(Format(format), [&](auto kernel, size_t shared) {
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
