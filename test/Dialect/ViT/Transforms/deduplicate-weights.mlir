// RUN: %python %S/Inputs/with_source.py %s %t.mlir
// RUN: vitrify-opt %t.mlir --vit-deduplicate-weights --vit-merge-weights | FileCheck %s
// RUN: vitrify-opt %t.mlir --vit-deduplicate-weights=scaled=false --vit-merge-weights | FileCheck %s --check-prefix=EXACT
// RUN: vitrify-opt %t.mlir --vit-deduplicate-weights=low-rank=1e-3 | FileCheck %s --check-prefix=RANK

// TENSOR a = np.random.RandomState(1).standard_normal((32, 40)).astype(np.float32)
// TENSOR same = a
// TENSOR half = a * np.float32(-0.5)
// TENSOR rows = a * np.repeat(np.float32([1, 3]), 16)[:, None]
// TENSOR near = np.where(np.arange(1280).reshape(32, 40) == 77, np.nextafter(a * np.float32(2), np.float32(9)), a * np.float32(2))
// TENSOR flat = a.reshape(1280)
// TENSOR table = a * np.float32(4)
// TENSOR rank1 = a + np.outer(np.arange(32), np.arange(40)).astype(np.float32) / 1000
// TENSOR other = np.random.RandomState(2).standard_normal((32, 40)).astype(np.float32)

// CHECK: vit.report = [
// CHECK-SAME: bytes = 5120 : i64, how = "bytes", kept = "ckpt:a", pass = "deduplicate", replaced = ["ckpt:same"], saved_bytes = 5120 : i64
// CHECK-SAME: factor = -5.000000e-01 : f64, how = "factor", kept = "a", pass = "deduplicate", replaced = ["half"]
// CHECK-SAME: how = "factor of each row", kept = "a", pass = "deduplicate", replaced = ["rows"]
module {
  vit.source @ckpt path "CKPT" size 9 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  // Equal bytes are one weight; of another type or shape they are another.
  // CHECK: vit.weight @a :
  // CHECK-NOT: vit.weight @same :
  // CHECK: vit.weight @flat :
  // EXACT: vit.weight @a :
  // EXACT-NOT: vit.weight @same :
  vit.weight @a : tensor<32x40xf32> { %0 = vit.read @ckpt "a" : tensor<32x40xf32>  vit.yield %0 : tensor<32x40xf32> }
  vit.weight @same : tensor<32x40xf32> { %0 = vit.read @ckpt "same" : tensor<32x40xf32>  vit.yield %0 : tensor<32x40xf32> }
  vit.weight @half : tensor<32x40xf32> { %0 = vit.read @ckpt "half" : tensor<32x40xf32>  vit.yield %0 : tensor<32x40xf32> }
  vit.weight @rows : tensor<32x40xf32> { %0 = vit.read @ckpt "rows" : tensor<32x40xf32>  vit.yield %0 : tensor<32x40xf32> }
  vit.weight @near : tensor<32x40xf32> { %0 = vit.read @ckpt "near" : tensor<32x40xf32>  vit.yield %0 : tensor<32x40xf32> }
  vit.weight @flat : tensor<1280xf32> { %0 = vit.read @ckpt "flat" : tensor<1280xf32>  vit.yield %0 : tensor<1280xf32> }
  vit.weight @table : tensor<32x40xf32> { %0 = vit.read @ckpt "table" : tensor<32x40xf32>  vit.yield %0 : tensor<32x40xf32> }
  vit.weight @rank1 : tensor<32x40xf32> { %0 = vit.read @ckpt "rank1" : tensor<32x40xf32>  vit.yield %0 : tensor<32x40xf32> }
  vit.weight @other : tensor<32x40xf32> { %0 = vit.read @ckpt "other" : tensor<32x40xf32>  vit.yield %0 : tensor<32x40xf32> }
  // CHECK: vit.weight @half.ratio : tensor<32xf32>
  // CHECK-NEXT: vit.literal dense<-5.000000e-01> : tensor<32xf32>

  // CHECK-LABEL: func.func @f
  // EXACT-LABEL: func.func @f
  // RANK-LABEL: func.func @f
  func.func @f(%x: tensor<?x40xf32>, %ids: tensor<?xi32>) -> (tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x40xf32>, tensor<1280xf32>) {
    // CHECK: %[[NEAR:.*]] = vit.get @near
    // CHECK: %[[TABLE:.*]] = vit.get @table
    // RANK: %[[OTHER:.*]] = vit.get @other
    %a = vit.get @a : tensor<32x40xf32>
    %same = vit.get @same : tensor<32x40xf32>
    %half = vit.get @half : tensor<32x40xf32>
    %rows = vit.get @rows : tensor<32x40xf32>
    %near = vit.get @near : tensor<32x40xf32>
    %flat = vit.get @flat : tensor<1280xf32>
    %table = vit.get @table : tensor<32x40xf32>
    %rank1 = vit.get @rank1 : tensor<32x40xf32>
    %other = vit.get @other : tensor<32x40xf32>
    // A linear of the shared weight, its accumulator times the factor; linears beside it get 1, so that they still join.
    // CHECK: vit.linear {{.*}} layers ["b0.a"]{{.*}} epilogue(%[[ONES:.*]] [(d0, d1) -> (d1)]
    // CHECK: vit.linear {{.*}} layers ["b0.same"]
    // CHECK: %[[A:.*]] = vit.get @a :
    // CHECK: vit.linear %{{.*}}, %[[A]] layers ["b0.half"]{{.*}} epilogue(%[[RATIO:.*]] [(d0, d1) -> (d1)]
    // CHECK: arith.mulf
    // EXACT: vit.linear %{{.*}}, %{{.*}} layers ["b0.half"] : tensor<?x40xf32>, tensor<32x40xf32> -> tensor<?x32xf32>{{ *$}}
    %0 = vit.linear %x, %a layers ["b0.a"] : tensor<?x40xf32>, tensor<32x40xf32> -> tensor<?x32xf32>
    %1 = vit.linear %x, %same layers ["b0.same"] : tensor<?x40xf32>, tensor<32x40xf32> -> tensor<?x32xf32>
    %2 = vit.linear %x, %half layers ["b0.half"] : tensor<?x40xf32>, tensor<32x40xf32> -> tensor<?x32xf32>
    %3 = vit.linear %x, %rows layers ["b0.rows"] : tensor<?x40xf32>, tensor<32x40xf32> -> tensor<?x32xf32>
    // One element a bit off is another weight.
    // CHECK: vit.linear %{{.*}}, %[[NEAR]] layers ["b0.near"]
    %4 = vit.linear %x, %near layers ["b0.near"] : tensor<?x40xf32>, tensor<32x40xf32> -> tensor<?x32xf32>
    // RANK: %[[DOWN:.*]] = vit.linear {{.*}} layers ["b0.rank1.diff.down"] : {{.*}} -> tensor<?x1xf32>
    // RANK: %[[UP:.*]] = vit.linear %[[DOWN]], {{.*}} layers ["b0.rank1.diff.up"] : {{.*}} -> tensor<?x32xf32>
    // RANK: vit.linear {{.*}} layers ["b0.rank1"]{{.*}} epilogue({{.*}}%[[UP]]{{.*}}
    // RANK: vit.linear %{{.*}}, %[[OTHER]] layers ["b0.other"]
    %5 = vit.linear %x, %rank1 layers ["b0.rank1"] : tensor<?x40xf32>, tensor<32x40xf32> -> tensor<?x32xf32>
    %6 = vit.linear %x, %other layers ["b0.other"] : tensor<?x40xf32>, tensor<32x40xf32> -> tensor<?x32xf32>
    // A table that is looked up keeps its own values: there is no scale that could take the factor.
    // CHECK: vit.embed %[[TABLE]],
    %7 = vit.embed %table, %ids layers ["embed"] : tensor<32x40xf32>, tensor<?xi32> -> tensor<?x40xf32>
    return %0, %1, %2, %3, %4, %5, %6, %7, %flat : tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x32xf32>, tensor<?x40xf32>, tensor<1280xf32>
  }
}
