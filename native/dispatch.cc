// Chooses the instruction set once, by what the processor and the operating system say.
#include <cstring>
#include <stdexcept>
#include <string>

#include "kernels.h"

namespace onesec {

namespace scalar { extern const Kernels table; }
#if defined(__x86_64__)
namespace avx2 { extern const Kernels table; }
namespace avx512 { extern const Kernels table; }
namespace amx {
extern const PromptKernels products;
const char* refusal();
}
#if defined(ONESEC_EMULATED_TILES)
namespace amx_emulated { extern const PromptKernels products; }
#endif
#endif

namespace {

struct Found {
  static constexpr int kMost = 8;
  Kernels copies[2];                   // tables made of another and its own prompt products
  const Kernels* tables[kMost] = {};   // null-terminated
  std::string amx = "absent";
  int count = 0;

  Found() {
    add(scalar::table);
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") || !__builtin_cpu_supports("f16c")) return;
    add(avx2::table);
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") || !__builtin_cpu_supports("avx512vl") ||
        !__builtin_cpu_supports("avx512dq") || !__builtin_cpu_supports("avx512vnni"))
      return;
#if defined(ONESEC_EMULATED_TILES)
    if (__builtin_cpu_supports("avx512bf16")) with_prompts(copies[0], "amx-emulated", amx_emulated::products);
#endif
    add(avx512::table);
    if (!__builtin_cpu_supports("avx512bf16") || !__builtin_cpu_supports("amx-tile") || !__builtin_cpu_supports("amx-bf16"))
      return;
    const char* why = amx::refusal();
    amx = why ? std::string("refused: ") + why : "used";
    if (!why) with_prompts(copies[1], "amx", amx::products);
#endif
  }
  void add(const Kernels& table) { tables[count++] = &table; }
#if defined(__x86_64__)
  void with_prompts(Kernels& copy, const char* name, const PromptKernels& prompt) {
    copy = avx512::table;
    copy.name = name, copy.prompt = &prompt;
    add(copy);
  }
#endif
};

const Found& found() {
  static const Found once;
  return once;
}

}  // namespace

const Kernels* const* available_kernels() { return found().tables; }
const char* amx_state() { return found().amx.c_str(); }

const Kernels& choose_kernels(const char* forced) {
  const Kernels* best = nullptr;
  std::string known;
  for (const Kernels* const* k = available_kernels(); *k; ++k) {
    best = *k;
    known += (known.empty() ? "" : ", ") + std::string((*k)->name);
    if (forced && *forced && !std::strcmp(forced, (*k)->name)) return **k;
  }
  if (forced && *forced)
    throw std::runtime_error("ONESEC_ISA=" + std::string(forced) + " cannot run here; this machine has " + known + ".");
  return *best;
}

}  // namespace onesec
