#!/bin/bash
# Fill a work folder with the peers and their models. Each step keeps what is already there.
# Usage: setup.sh WORK [llamacpp|wheel models gguf openvino ort]      (default: all, about 15 GB)
# Needs clang >= 16 and libomp (Debian: clang-19 lld-19 libomp-19-dev), cmake, ninja, Python 3.11.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1" && cd "$1" && shift
export HF_HUB_OFFLINE=1
jobs=${JOBS:-$(nproc)} cc=${CC:-clang-19} cxx=${CXX:-clang++-19} lld=${LLD:-lld-19}
llama=0.3.36   # llama-cpp-python, whose source distribution carries llama.cpp

venv() {  # venv NAME PACKAGE...   torch must stay a CPU build: a dependency must not replace it
  local v=venv-$1; shift
  [ -e "$v/done" ] && return
  python3 -m venv "$v"
  "$v/bin/pip" install -q torch==2.13.0
  echo torch==2.13.0 >"$v/constraints.txt"
  "$v/bin/pip" install -q -c "$v/constraints.txt" "$@"
  "$v/bin/python" -c 'import torch; assert torch.version.cuda is None, "CUDA build of torch"'
}

llamacpp() {
  [ -x build-llama/bin/llama-bench ] && return
  pip download -q --no-deps --no-binary llama-cpp-python -d sdist "llama-cpp-python==$llama"
  tar xf "sdist/llama_cpp_python-$llama.tar.gz" "llama_cpp_python-$llama/vendor/llama.cpp"
  mv "llama_cpp_python-$llama/vendor/llama.cpp" llama.cpp
  cmake -S llama.cpp -B build-llama -G Ninja -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=OFF \
    -DCMAKE_C_COMPILER="$cc" -DCMAKE_CXX_COMPILER="$cxx" -DCMAKE_EXE_LINKER_FLAGS="-fuse-ld=$lld" \
    -DGGML_NATIVE=ON -DGGML_OPENMP=ON -DLLAMA_OPENSSL=OFF \
    -DLLAMA_BUILD_TOOLS=ON -DLLAMA_BUILD_SERVER=ON -DLLAMA_BUILD_TESTS=OFF \
    -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_APP=OFF -DLLAMA_BUILD_UI=OFF \
    -DLLAMA_USE_PREBUILT_UI=OFF
  ninja -C build-llama -j "$jobs" llama-bench llama-batched-bench llama-server llama-quantize
  echo "llama-cpp-python $llama sdist, ggml $(sed -n 's/.*ggml version: *//p' \
    <(cmake -S llama.cpp -B build-llama 2>&1) | head -1), $("$cc" --version | head -1)" \
    >llama.cpp.version
}

wheel() {  # llama.cpp's server without building it
  [ -e venv-xllama/done ] && return
  python3 -m venv venv-xllama
  venv-xllama/bin/pip install -q --no-deps xllamacpp==2026.10.11549
  touch venv-xllama/done
}

models() {
  venv tf transformers==5.23.0 tokenizers safetensors gguf==0.19.0 sentencepiece protobuf pyyaml
  touch venv-tf/done
  [ -e models/smol135m/tokenizer_config.json ] || venv-tf/bin/python "$here/make_models.py" models
}

gguf() {
  venv-tf/bin/python "$here/to_gguf.py" llama.cpp build-llama/bin models gguf
}

openvino() {
  # optimum-intel asks for torchvision, which it does not need here and which would bring CUDA
  venv ov 'optimum~=2.3.0' 'transformers<5.6' 'huggingface-hub<1.22' 'requests<3' setuptools \
    nncf==3.4.0 openvino==2026.4.1 openvino-genai==2026.4.1.0 openvino-tokenizers==2026.4.1.0
  [ -e venv-ov/done ] || venv-ov/bin/pip install -q --no-deps optimum-intel==2.2.0
  touch venv-ov/done
  venv-ov/bin/python "$here/convert.py" openvino models ov
}

ort() {
  venv ort onnxruntime==1.32.0 onnxruntime-genai==0.18.0 transformers==5.23.0 onnx onnx_ir
  touch venv-ort/done
  venv-ort/bin/python "$here/convert.py" ort models ort
}

[ $# -gt 0 ] || set -- llamacpp models gguf openvino ort
for step; do "$step"; done
