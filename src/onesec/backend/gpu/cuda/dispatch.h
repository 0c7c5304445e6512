// Which kernel does a product, and how many blocks of it: shared by the launches and by the tests on a CPU.
#pragma once
#include "attention.h"
#include "dense_product.h"
#include "open_planes.h"
#include "planes_product.h"

namespace onesec::cuda {

// launch(kernel, Needs) of the product's kernel.
template <int Width, class Launch>
auto launch_planes(const Product& p, Launch launch) {
  const auto run = [&]<int N, int Tiles>() { return launch(planes_product<Width, N, Tiles>, needs_of<PlaneSums<Width, N, Tiles>>()); };
  if (row_tiles(p.rows) == 2) return run.template operator()<8, 2>();
  switch (tile_columns(p.rows)) {
    case 1: return run.template operator()<1, 1>();
    case 2: return run.template operator()<2, 1>();
    case 4: return run.template operator()<4, 1>();
    default: return run.template operator()<8, 1>();
  }
}
template <class Type, class Launch>
auto launch_dense(const Product& p, Launch launch) {
  const auto run = [&]<int N, int Tiles>() { return launch(dense_product<Type, N, Tiles>, needs_of<DenseSums<Type, N, Tiles>>()); };
  if (row_tiles(p.rows) == 2) return run.template operator()<8, 2>();
  return p.rows == 1 ? run.template operator()<1, 1>() : run.template operator()<8, 1>();
}

template <class Launch>
auto launch_product(const Product& p, Format format, Launch launch) {
  switch (format) {
    case Format::planes4: return launch_planes<4>(p, launch);
    case Format::planes8: return launch_planes<8>(p, launch);
    case Format::bf16: return launch_dense<Bf16>(p, launch);
    default: return launch_dense<Half>(p, launch);
  }
}

// Floats that `shared` has to hold.
inline size_t shared_floats(const Product& p, Format format) {
  const bool planes = format == Format::planes4 || format == Format::planes8;
  const int columns = row_tiles(p.rows) == 2 ? 16 : planes || p.rows == 1 ? tile_columns(p.rows) : 8;
  return size_t(p.units) * size_t(tiles_of_unit(p)) * size_t(columns) * kTileRows;
}

template <class Launch>
auto launch_prepare(const Product& p, Format format, Launch launch) {
  const auto of = [&]<class Form>() { return launch(p.rows == 1 ? prepare_rows<Form, true> : prepare_rows<Form, false>, kScratchBytes); };
  switch (format) {
    case Format::bf16: return of.template operator()<RoundedForm<Bf16>>();
    case Format::half: return of.template operator()<RoundedForm<Half>>();
    default: return of.template operator()<QuantizedForm>();
  }
}

inline int open_blocks(const Product& p) { return (p.units * p.superblocks + kWarps - 1) / kWarps; }
template <class Type, class Launch>
auto launch_open(Format width, Launch launch) {
  return width == Format::planes4 ? launch(open_planes<Type, 4>) : launch(open_planes<Type, 8>);
}

}  // namespace onesec::cuda
