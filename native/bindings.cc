// Python's door to the engine: checks values, lets the GIL go where work takes long, calls. Nothing is computed here.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/shared_ptr.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/unique_ptr.h>
#include <nanobind/stl/vector.h>

#include "bandwidth.h"
#include "call.h"
#include "linear.h"
#include "transformer.h"

namespace nb = nanobind;
using namespace nb::literals;

namespace onesec {
namespace {

using Floats = nb::ndarray<const float, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Ints = nb::ndarray<const int32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Words = nb::ndarray<const uint32_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Bytes = nb::ndarray<const uint8_t, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using WidthArray = nb::ndarray<const uint8_t, nb::shape<-1, 2>, nb::c_contig, nb::device::cpu>;  // bits of weights, of activations
using FloatMatrix = nb::ndarray<const float, nb::ndim<2>, nb::c_contig, nb::device::cpu>;
using Cube = nb::ndarray<const float, nb::ndim<3>, nb::c_contig, nb::device::cpu>;
using AnyMatrix = nb::ndarray<nb::ro, nb::ndim<2>, nb::c_contig, nb::device::cpu>;

void require(bool ok, const std::string& message) {
  if (!ok) throw nb::value_error(message.c_str());
}

template <class T>
T get(const nb::dict& d, const char* key) { return nb::cast<T>(d[key]); }

DType parse_dtype(const std::string& name) {
  if (name == "f32") return DType::f32;
  if (name == "f16") return DType::f16;
  if (name == "bf16") return DType::bf16;
  if (name == "i8") return DType::i8;
  throw nb::value_error(("unknown dtype " + name).c_str());
}

Config parse_config(const nb::dict& d) {
  Config c;
  c.vocab_size = get<int>(d, "vocab_size"), c.hidden_size = get<int>(d, "hidden_size");
  c.num_layers = get<int>(d, "num_layers"), c.num_heads = get<int>(d, "num_heads");
  c.num_kv_heads = get<int>(d, "num_kv_heads"), c.head_dim = get<int>(d, "head_dim");
  c.intermediate_size = get<int>(d, "intermediate_size"), c.context_length = get<int>(d, "context_length");
  c.rms = get<std::string>(d, "norm") == "rms", c.norm_eps = get<float>(d, "norm_eps");
  c.gated = get<bool>(d, "gated"), c.learned_position = get<std::string>(d, "position") == "learned";
  c.qk_norm = get<bool>(d, "qk_norm"), c.post_norms = get<bool>(d, "post_norms");
  c.tie_embeddings = get<bool>(d, "tie_embeddings");
  c.attention_scale = get<float>(d, "attention_scale"), c.attention_softcap = get<float>(d, "attention_softcap");
  c.final_softcap = get<float>(d, "final_softcap"), c.embedding_scale = get<float>(d, "embedding_scale");
  const auto activation = get<std::string>(d, "activation");
  c.activation = activation == "silu" ? Activation::silu : activation == "gelu_tanh" ? Activation::gelu_tanh
               : activation == "gelu" ? Activation::gelu : Activation::relu;
  for (const auto& [freq, factor] : get<std::vector<std::pair<std::vector<float>, float>>>(d, "ropes"))
    c.ropes.push_back({freq, factor});
  for (const auto& [window, rope] : get<std::vector<std::pair<int, int>>>(d, "layers")) c.layers.push_back({window, rope});
  for (const int size : {c.vocab_size, c.hidden_size, c.num_layers, c.num_heads, c.num_kv_heads, c.head_dim, c.intermediate_size})
    require(size > 0 && size < (1 << 24), "a size of the model is out of range");
  require(c.num_heads % c.num_kv_heads == 0, "num_heads must be a multiple of num_kv_heads");
  require(int(c.layers.size()) == c.num_layers, "layers must have num_layers entries");
  for (const LayerConfig& l : c.layers)
    require(c.learned_position || (l.rope >= 0 && l.rope < int(c.ropes.size())), "a layer names a rope that is not there");
  for (const Rope& r : c.ropes) require(int(r.inv_freq.size()) * 2 <= c.head_dim, "a rope is wider than a head");
  return c;
}

std::vector<Segment> parse_segments(const Matrix& m, const std::vector<std::pair<AnyMatrix, std::string>>& parts) {
  std::vector<Segment> out;
  require(parts.size() == m.segment_rows.size(), "wrong number of segments");
  for (size_t i = 0; i < parts.size(); ++i) {
    const auto& [array, name] = parts[i];
    const DType dtype = parse_dtype(name);
    require(int(array.itemsize()) == dtype_bytes(dtype) && dtype != DType::i8, "segment: item size does not match its dtype");
    require(int64_t(array.shape(0)) == m.segment_rows[i] && int64_t(array.shape(1)) == m.cols, "segment: wrong shape");
    out.push_back({array.data(), dtype, m.segment_rows[i]});
  }
  return out;
}

using RowTuple = std::tuple<Ints, int, Ints, nb::object, std::vector<int32_t>, int, bool, int32_t, bool, bool, bool>;

std::vector<RowIn> parse_rows(const Transformer& t, const std::vector<RowTuple>& rows, int max_steps) {
  std::vector<RowIn> out;
  require(!rows.empty() && max_steps >= 1, "a batch needs rows and steps");
  for (const auto& [tokens, start, table, sampler, stop_ids, top, prompt_logprobs, next_token, statistics, drafted, pooled] : rows) {
    RowIn r;
    r.tokens.assign(tokens.data(), tokens.data() + tokens.shape(0));
    r.table.assign(table.data(), table.data() + table.shape(0));
    r.start = start;
    if (!sampler.is_none()) r.sampler = nb::cast<std::shared_ptr<Sampler>>(sampler);
    r.stop_ids = stop_ids;
    r.top = top, r.prompt_logprobs = prompt_logprobs, r.next_token = next_token;
    r.statistics = statistics, r.drafted = drafted, r.pooled = pooled;
    const int64_t end = int64_t(start) + int64_t(r.tokens.size()) + max_steps - 1;
    require(!r.tokens.empty() && start >= 0, "a row needs tokens and a start >= 0");
    require(max_steps == 1 || r.sampler, "several steps need a sampler in every row");
    require(!pooled || (!r.sampler && max_steps == 1), "a row whose hidden states are told draws nothing");
    require(!drafted || (r.sampler && !prompt_logprobs), "a draft needs a sampler, and is no prompt");
    require(end <= t.config().context_length, "positions pass the context length");
    require(int64_t(r.table.size()) * kBlockTokens >= end, "the block table is too short");
    for (const int32_t token : r.tokens) require(token >= 0 && token < t.config().vocab_size, "a token id is out of range");
    require(next_token < t.config().vocab_size, "next_token is out of range");
    for (size_t i = 0; int64_t(i) * kBlockTokens < end; ++i)
      require(r.table[i] >= 0 && r.table[i] < t.num_blocks(), "a block id is out of range");
    out.push_back(std::move(r));
  }
  return out;
}

Widths parse_widths(const Transformer& t, const WidthArray& widths) {
  require(widths.shape(0) == t.matrix_names().size(), "one width a matrix is needed");
  Widths found;
  found.reserve(widths.shape(0));
  for (size_t i = 0; i < widths.shape(0); ++i) {
    const uint8_t weights = widths(i, 0);
    require(weights == 0 || weights == 4 || weights == 8 || weights == 16, "weights have 0, 4, 8 or 16 bits");
    found.push_back({weights, widths(i, 1)});
  }
  return found;
}

// Nothing may touch the model while a call that was left behind goes on: waits for it, with the lock let go.
Transformer& idle(Transformer& t) {
  nb::gil_scoped_release release;
  t.driver().wait(kForever);
  return t;
}

using Results = std::vector<std::tuple<std::vector<int32_t>, std::vector<float>, std::vector<float>, std::vector<float>,
                                       std::vector<std::vector<std::pair<int32_t, float>>>, std::vector<float>, std::vector<float>>>;

// (rows, step_ms, cpu_ms, bytes read, overdue) of what a call has done since it was last asked.
auto tell(Call& call) {
  Done done = call.take();
  Results rows;
  for (RowOut& o : done.rows)
    rows.emplace_back(std::move(o.tokens), std::move(o.logprobs), std::move(o.entropies), std::move(o.margins), std::move(o.top), std::move(o.prompt_logprobs),
                      std::move(o.hidden));
  return std::tuple(std::move(rows), std::move(done.step_ms), done.cpu_ms, done.bytes, !done.over);
}

// A call with a fence runs on the driver's thread, and the caller comes back when `watch_ns` has passed.
auto step(Transformer& t, const std::vector<RowTuple>& tuples, const WidthArray& width_array, int max_steps, int64_t until_ns,
          int64_t watch_ns, bool exact) {
  const auto call = std::make_shared<Call>(t, parse_rows(t, tuples, max_steps), parse_widths(t, width_array), max_steps, until_ns, exact);
  {
    nb::gil_scoped_release release;
    t.driver().wait(kForever);
    if (watch_ns == kForever) call->run();
    else if (!t.driver().run(call, watch_ns)) call->abandon();
  }
  return tell(*call);
}

// The rest of an overdue call, or None where it goes on still when `until_ns` has passed.
auto rest(Transformer& t, int64_t until_ns) {
  std::optional<decltype(tell(std::declval<Call&>()))> told;
  bool over;
  {
    nb::gil_scoped_release release;
    over = t.driver().wait(until_ns);
  }
  if (over) {
    const auto job = t.driver().take();
    require(job != nullptr, "no call is overdue");
    told = tell(static_cast<Call&>(*job));
  }
  return told;
}

auto all_logits(Transformer& t, const std::vector<RowTuple>& tuples, const WidthArray& width_array, bool exact) {
  std::vector<RowIn> rows = parse_rows(t, tuples, 1);
  const Widths widths = parse_widths(t, width_array);
  const size_t vocab = size_t(t.config().vocab_size);
  float* copy = nullptr;
  size_t count = 0;
  {
    nb::gil_scoped_release release;
    t.driver().wait(kForever);
    std::vector<SequenceRows> sequences;
    for (const RowIn& r : rows) sequences.push_back({r.tokens.data(), int(r.tokens.size()), r.start, r.table.data(), true, true});
    t.forward(sequences, widths, {.prompt = !exact, .once = true});
    count = size_t(t.num_logits());
    copy = new float[count * vocab];
    for (size_t i = 0; i < count; ++i) std::copy_n(t.logits(int(i)), vocab, copy + i * vocab);
  }
  nb::capsule owner(copy, [](void* p) noexcept { delete[] static_cast<float*>(p); });
  return nb::ndarray<nb::numpy, float, nb::ndim<2>>(copy, {count, vocab}, owner);
}

// A token from logits that something else computed, and what step() tells of one.
auto draw(Sampler& sampler, const Floats& given, int top) {
  require(given.shape(0) > 0, "there are no logits to draw from");
  std::vector<float> logits(given.data(), given.data() + given.shape(0));
  const int n = int(logits.size());
  nb::gil_scoped_release release;
  LogitStats stats;
  choose_kernels("").logit_stats(logits.data(), n, 0, &stats);
  const Distribution d = merge_stats(&stats, 1);
  sampler.check(n, d.finite);
  auto best = top > 0 ? top_logprobs(logits.data(), n, top, d.log_sum_exp) : std::vector<std::pair<int32_t, float>>{};
  const int32_t token = sampler.sample(logits.data(), n, d);
  return std::tuple(token, sampler.last_logit() - d.log_sum_exp, d.entropy, d.margin, best);
}

// `fill` writes [rows][cols] floats with the lock let go.
template <class F>
nb::ndarray<nb::numpy, float, nb::ndim<2>> float_matrix(size_t rows, size_t cols, F&& fill) {
  float* values = new float[rows * cols];
  nb::capsule owner(values, [](void* p) noexcept { delete[] static_cast<float*>(p); });
  {
    nb::gil_scoped_release release;
    fill(values);
  }
  return nb::ndarray<nb::numpy, float, nb::ndim<2>>(values, {rows, cols}, owner);
}

nb::ndarray<nb::numpy, const uint8_t, nb::ndim<1>> view(const uint8_t* data, size_t bytes, nb::handle owner) {
  return {data, {bytes}, owner};
}

bool aligned(const void* p) { return reinterpret_cast<uintptr_t>(p) % 64 == 0; }

}  // namespace
}  // namespace onesec

NB_MODULE(_native, m) {
  using namespace onesec;
  m.doc() = "The native CPU engine of OneSec.";
  nb::register_exception_translator([](const std::exception_ptr& thrown, void*) {
    try {
      std::rethrow_exception(thrown);
    } catch (const NotFinite& error) {
      const nb::object raised = nb::module_::import_("onesec.core.errors").attr("ModelError")(error.what(), "hint"_a = "Its files may be damaged: fetch or pack it again.");
      PyErr_SetObject(raised.type().ptr(), raised.ptr());
    }
  });

  nb::class_<Sampler>(m, "Sampler")
      .def("__init__", [](Sampler* self, float temperature, int top_k, float top_p, float min_p, float repetition_penalty,
                          float presence_penalty, float frequency_penalty, const std::vector<std::pair<int32_t, float>>& logit_bias,
                          uint64_t seed, int min_tokens, const std::vector<int32_t>& end_ids) {
             new (self) Sampler(SamplingParams{temperature, top_k, top_p, min_p, repetition_penalty, presence_penalty,
                                               frequency_penalty, logit_bias, seed, min_tokens, end_ids});
           }, nb::kw_only(), "temperature"_a, "top_k"_a, "top_p"_a, "min_p"_a, "repetition_penalty"_a, "presence_penalty"_a,
           "frequency_penalty"_a, "logit_bias"_a, "seed"_a, "min_tokens"_a, "end_ids"_a)
      .def("observe", [](Sampler& s, const std::vector<int32_t>& tokens) { s.observe(tokens.data(), int(tokens.size())); }, "tokens"_a)
      .def("force", [](Sampler& s, const std::vector<int32_t>& tokens) { s.force(tokens.data(), int(tokens.size())); }, "tokens"_a)
      .def("allow", [](Sampler& s, const Words& words) {
             require(words.shape(0) > 0, "a mask needs words");
             s.allow({words.data(), words.data() + words.shape(0)});
           }, "words"_a)
      .def_prop_ro("wants_argmax", &Sampler::wants_argmax)
      .def("draw", &draw, "logits"_a, "top"_a);

  nb::class_<Linear>(m, "Linear")
      .def("__init__", [](Linear* self, const FloatMatrix& weight, const AnyMatrix& half, const Floats& bias, const std::string& isa) {
             const size_t rows = weight.shape(0), cols = weight.shape(1);
             require(rows >= 1 && cols >= 1 && rows < (1 << 24) && cols < (1 << 24), "a size of the matrix is out of range");
             require(half.itemsize() == 2 && half.shape(0) == rows && half.shape(1) == cols, "half: another shape or item size");
             require(bias.shape(0) == 0 || bias.shape(0) == rows, "bias: one value a row, or none");
             new (self) Linear(weight.data(), static_cast<const uint16_t*>(half.data()),
                               std::vector<float>(bias.data(), bias.data() + bias.shape(0)), int(rows), int(cols), isa.c_str());
           }, "weight"_a, "half"_a, "bias"_a, "isa"_a)
      .def("bytes", [](const Linear& l, int width) {
             require(width == 4 || width == 8 || width == 16, "width must be 4, 8 or 16");
             return l.bytes(width);
           }, "width"_a)
      .def("product", [](Linear& l, const FloatMatrix& x, int width) {
             require(width == 4 || width == 8 || width == 16, "width must be 4, 8 or 16");
             require(int64_t(x.shape(1)) == l.cols() && x.shape(0) < (1 << 24), "x: one column a column of the matrix");
             return float_matrix(x.shape(0), size_t(l.padded_rows()), [&](float* y) { l.product(x.data(), int(x.shape(0)), width, y); });
           }, "x"_a, "width"_a, "[n][rows padded to 16]; one caller at a time.")
      .def("unpack", [](const Linear& l, int width) {
             require(width == 4 || width == 8, "width must be 4 or 8");
             return float_matrix(size_t(l.rows()), size_t(l.cols()), [&](float* out) { l.unpack(width, out); });
           }, "width"_a);

  nb::class_<Transformer>(m, "Transformer")
      .def("__init__", [](Transformer* self, const nb::dict& config, int threads, const std::string& isa) {
             require(threads >= 1 && threads <= 1024, "threads must lie in [1, 1024]");
             new (self) Transformer(parse_config(config), threads, isa.c_str());
           }, "config"_a, "threads"_a, "isa"_a)
      .def_prop_ro("isa", [](const Transformer& t) { return std::string(t.kernels().name); })
      .def_prop_ro("threads", [](Transformer& t) { return t.pool().most(); })
      .def_prop_ro("matrix_names", [](const Transformer& t) { return t.matrix_names(); })
      .def_prop_ro("num_blocks", &Transformer::num_blocks)
      .def("block_bytes", [](const Transformer& t, const std::string& dtype) { return t.block_bytes(parse_dtype(dtype)); }, "dtype"_a)
      .def("set_vector", [](Transformer& t, const std::string& name, const Floats& v) {
             t.set_vector(name, std::vector<float>(v.data(), v.data() + v.shape(0)));
           }, "name"_a, "values"_a)
      .def("reserve_planes", &Transformer::reserve_planes)
      .def("pack", [](Transformer& t, const std::string& name, const std::vector<std::pair<AnyMatrix, std::string>>& parts,
                      const std::optional<Cube>& gram) {
             Matrix& matrix = t.matrix(name);
             const auto segments = parse_segments(matrix, parts);
             const size_t size = size_t(Gram::block_size(matrix.cols)), blocks = size_t(Gram::block_count(matrix.cols));
             require(!gram || (gram->shape(0) == blocks && gram->shape(1) == size && gram->shape(2) == size), "gram of the wrong shape: " + name);
             require(!matrix.mapped, "planes in a file cannot be packed anew: " + name);
             nb::gil_scoped_release release;
             t.driver().wait(kForever);
             return t.pack(matrix, segments, gram ? gram->data() : nullptr);
           }, "name"_a, "segments"_a, "gram"_a = nb::none(), "False where a value is not finite.")
      .def("watch", [](Transformer& t, bool on) { idle(t).watch(on); }, "on"_a)
      .def("moments", [](nb::handle self, const std::string& name) {
             const Moments& seen = nb::cast<const Transformer&>(self).moments(name);
             const auto size = size_t(seen.size());
             return nb::ndarray<nb::numpy, const float, nb::ndim<3>>(seen.sums().data(), {size_t(seen.blocks()), size, size}, self);
           }, "name"_a, "Sums of products of what the matrix has read, upper triangles of the blocks. Valid while watched.")
      .def("set_source", [](Transformer& t, const std::string& name, const std::vector<std::pair<AnyMatrix, std::string>>& parts, bool mapped) {
             Matrix& matrix = t.matrix(name);
             matrix.segments = parse_segments(matrix, parts);
             for (Segment& segment : matrix.segments) segment.mapped = mapped;
           }, "name"_a, "segments"_a, "mapped"_a, "The 16-bit width; the caller keeps the arrays alive. mapped: they all lie in files.")
      .def("fill_random", [](Transformer& t, const std::string& name, uint64_t seed, float deviation) {
             nb::gil_scoped_release release;
             t.fill_random(t.matrix(name), seed, deviation);
           }, "name"_a, "seed"_a, "deviation"_a)
      .def("set_planes", [](Transformer& t, const std::string& name, const Bytes& hi, const Bytes& lo, const Floats& row_scale, bool copy) {
             Matrix& matrix = t.matrix(name);
             const bool narrow = lo.shape(0) == 0;
             require(hi.shape(0) == matrix.hi_bytes() && (narrow || lo.shape(0) == matrix.lo_bytes()) && int(row_scale.shape(0)) == matrix.rows,
                     "planes of the wrong size: " + name);
             const uint8_t* low = narrow ? nullptr : lo.data();
             require(copy || (aligned(hi.data()) && aligned(low)), "mapped planes must be aligned to 64 bytes");
             nb::gil_scoped_release release;
             if (copy) t.copy_planes(matrix, hi.data(), low, row_scale.data());
             else t.map_planes(matrix, hi.data(), low, row_scale.data());
           }, "name"_a, "hi"_a, "lo"_a, "row_scale"_a, "copy"_a, "lo empty: the matrix has no 8-bit width.")
      .def("planes", [](nb::handle self, const std::string& name) {
             Matrix& matrix = nb::cast<Transformer&>(self).matrix(name);
             require(matrix.planes.hi != nullptr, "no planes: " + name);
             const nb::ndarray<nb::numpy, const float, nb::ndim<1>> scale(matrix.planes.row_scale, {size_t(matrix.rows)}, self);
             return nb::make_tuple(view(matrix.planes.hi, matrix.hi_bytes(), self), view(matrix.planes.lo, matrix.planes.lo ? matrix.lo_bytes() : 0, self), scale);
           }, "name"_a)
      .def("matrix_shape", [](Transformer& t, const std::string& name) { return std::pair(t.matrix(name).rows, t.matrix(name).cols); }, "name"_a)
      .def("finish", &Transformer::finish, nb::call_guard<nb::gil_scoped_release>())
      .def_prop_ro("head_residual", [](nb::handle self) {
             const auto bounds = nb::cast<const Transformer&>(self).head_residual();
             return nb::ndarray<nb::numpy, const float, nb::ndim<1>>(bounds.data(), {bounds.size()}, self);
           }, "Bounds of the residuals of the head's rows, for the artifact; empty where they are not known.")
      .def("allocate_cache", [](Transformer& t, int num_blocks, const std::string& dtype) {
             require(num_blocks >= 1, "num_blocks must be at least 1");
             const DType values = parse_dtype(dtype);
             require(values != DType::bf16, "a cache has f32, f16 or i8");
             t.allocate_cache(num_blocks, values);
           }, "num_blocks"_a, "dtype"_a)
      .def("weight_bytes", [](const Transformer& t, const WidthArray& widths) { return t.weight_bytes(parse_widths(t, widths)); }, "widths"_a)
      .def("step", &step, "rows"_a, "widths"_a, "max_steps"_a, "until_ns"_a, "watch_ns"_a, "exact"_a)
      .def("set_fault", [](Transformer& t, std::shared_ptr<Fault> fault) { idle(t).pool().set_fault(std::move(fault)); }, "fault"_a, "For tests.")
      .def("use_threads", [](Transformer& t, int count) { t.pool().use(count); }, "count"_a, "From the next step on; waits for none.")
      .def("rest", &rest, "until_ns"_a)
      .def("settle", [](Transformer& t) { idle(t); }, "Waits for a call that goes on behind.")
      .def("logits", &all_logits, "rows"_a, "widths"_a, "exact"_a);

  nb::class_<Fault>(m, "Fault", "For tests: stalls and slowness inside steps. Nothing in the package makes one.")
      .def(nb::init<>())
      .def("stall", &Fault::stall, "thread"_a, "run"_a, "ms"_a)
      .def("slow", &Fault::slow, "factor"_a)
      .def("release", &Fault::release);

  m.attr("BLOCK_TOKENS") = kBlockTokens;
  m.def("allowed_cpus", &allowed_cpus);
  m.def("available_isas", [] {
    std::vector<std::string> names;
    for (const Kernels* const* k = available_kernels(); *k; ++k) names.emplace_back((*k)->name);
    return names;
  });
  m.def("amx_state", &amx_state, "absent, used, or refused and why.");
  m.def("read_bandwidth", [](size_t bytes, int threads, double seconds) {
    require(threads >= 1 && bytes >= 4096, "read_bandwidth needs a thread and 4096 bytes");
    nb::gil_scoped_release release;
    return read_bandwidth(bytes, threads, seconds);
  }, "bytes"_a, "threads"_a, "seconds"_a);
}
