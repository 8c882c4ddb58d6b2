// RUN: not vitrify-opt %s --vit-deduplicate-weights=low-rank=1.5 2>&1 | FileCheck %s --check-prefix=RANGE
// RUN: not vitrify-opt %s --vit-deduplicate-weights=low-rank=-1 2>&1 | FileCheck %s --check-prefix=RANGE
// RUN: vitrify-opt %s --vit-deduplicate-weights --mlir-disable-threading 2>&1 | FileCheck %s --check-prefix=CLOSED

// RANGE: error: the tolerance of low-rank sharing is {{.*}}, expected a number from 0 to below 1
// A file that is not there: nothing is compared, and the module stays as it is.
// CLOSED: remark: the values of source 'ckpt' are not compared: {{.*}}nowhere.safetensors
// CLOSED: vit.read @ckpt "b"
vit.source @ckpt path "nowhere.safetensors" size 1024 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
vit.weight @b : tensor<8xf32> { %0 = vit.read @ckpt "b" : tensor<8xf32>  vit.yield %0 : tensor<8xf32> }
