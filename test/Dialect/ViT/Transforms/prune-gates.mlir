// RUN: %python %S/Inputs/with_source.py %s %t.mlir
// RUN: vitrify-opt %t.mlir --vit-prune-gates | FileCheck %s

// 48 neurons over 8 inputs. The norm's output has at most the length sqrt(8) < 2.83; rows of w1 have the length 2 and 1.
// TENSOR ones = np.ones(8, np.float32)
// TENSOR zeros = np.zeros(8, np.float32)
// TENSOR w1 = np.tile(np.float32([1, -1, 1, -1, 0, 0, 0, 0]), (48, 1))
// TENSOR b1 = np.where(np.arange(48) < 20, -6, -5).astype(np.float32)
// TENSOR up = np.random.RandomState(1).standard_normal((48, 8)).astype(np.float32)
// TENSOR w2 = np.random.RandomState(2).standard_normal((8, 48)).astype(np.float32)
// TENSOR holes = np.where(np.arange(48) % 3 == 0, 0, w2).astype(np.float32)
// TENSOR scores = np.random.RandomState(3).standard_normal((3, 8)).astype(np.float32)
// TENSOR never = np.float32([0, -100, 0])

module {
  vit.source @ckpt path "CKPT" size 9 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  vit.weight @ones : tensor<8xf32> { %0 = vit.read @ckpt "ones" : tensor<8xf32>  vit.yield %0 : tensor<8xf32> }
  vit.weight @zeros : tensor<8xf32> { %0 = vit.read @ckpt "zeros" : tensor<8xf32>  vit.yield %0 : tensor<8xf32> }
  vit.weight @w1 : tensor<48x8xf32> { %0 = vit.read @ckpt "w1" : tensor<48x8xf32>  vit.yield %0 : tensor<48x8xf32> }
  vit.weight @b1 : tensor<48xf32> { %0 = vit.read @ckpt "b1" : tensor<48xf32>  vit.yield %0 : tensor<48xf32> }
  vit.weight @w2 : tensor<8x48xf32> { %0 = vit.read @ckpt "w2" : tensor<8x48xf32>  vit.yield %0 : tensor<8x48xf32> }
  vit.weight @w1b : tensor<48x8xf32> { %0 = vit.read @ckpt "w1" : tensor<48x8xf32>  vit.yield %0 : tensor<48x8xf32> }
  vit.weight @w2b : tensor<8x48xf32> { %0 = vit.read @ckpt "w2" : tensor<8x48xf32>  vit.yield %0 : tensor<8x48xf32> }
  vit.weight @b1b : tensor<48xf32> { %0 = vit.read @ckpt "b1" : tensor<48xf32>  vit.yield %0 : tensor<48xf32> }
  vit.weight @up : tensor<48x8xf32> { %0 = vit.read @ckpt "up" : tensor<48x8xf32>  vit.yield %0 : tensor<48x8xf32> }
  vit.weight @gate : tensor<48x8xf32> { %0 = vit.read @ckpt "up" : tensor<48x8xf32>  vit.yield %0 : tensor<48x8xf32> }
  vit.weight @holes : tensor<8x48xf32> { %0 = vit.read @ckpt "holes" : tensor<8x48xf32>  vit.yield %0 : tensor<8x48xf32> }
  vit.weight @fc1 : tensor<48x8xf32> { %0 = vit.read @ckpt "up" : tensor<48x8xf32>  vit.yield %0 : tensor<48x8xf32> }
  vit.weight @fc2 : tensor<8x48xf32> { %0 = vit.read @ckpt "w2" : tensor<8x48xf32>  vit.yield %0 : tensor<8x48xf32> }
  vit.weight @scores : tensor<3x8xf32> { %0 = vit.read @ckpt "scores" : tensor<3x8xf32>  vit.yield %0 : tensor<3x8xf32> }
  vit.weight @never : tensor<3xf32> { %0 = vit.read @ckpt "never" : tensor<3xf32>  vit.yield %0 : tensor<3xf32> }

  // 20 neurons have a bias below -sqrt(8) * 2; 16 leave, so that a multiple of 16 stays.
  // CHECK-LABEL: func.func @relu
  func.func @relu(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
    %g = vit.get @ones : tensor<8xf32>
    %b = vit.get @zeros : tensor<8xf32>
    %w1 = vit.get @w1 : tensor<48x8xf32>
    %b1 = vit.get @b1 : tensor<48xf32>
    %w2 = vit.get @w2 : tensor<8x48xf32>
    %h = vit.norm layer %x gamma(%g : tensor<8xf32>) beta(%b : tensor<8xf32>) eps 1.0e-6 layers ["n"] : tensor<?x8xf32> -> tensor<?x8xf32>
    // CHECK: vit.linear %{{.*}}, %{{.*}} layers ["b0.fc1"] : tensor<?x8xf32>, tensor<32x8xf32> -> tensor<?x32xf32>
    %f = vit.linear %h, %w1 layers ["b0.fc1"] : tensor<?x8xf32>, tensor<48x8xf32> -> tensor<?x48xf32> epilogue(%b1 [(m, n) -> (n)] : tensor<48xf32>) group 1 {
    ^bb0(%acc: f32, %bias: f32):
      %r = arith.addf %acc, %bias : f32
      vit.yield %r : f32
    }
    // CHECK: vit.act relu %{{.*}} layers ["b0.act"] : tensor<?x32xf32>
    %a = vit.act relu %f layers ["b0.act"] : tensor<?x48xf32>
    // CHECK: vit.linear %{{.*}}, %{{.*}} layers ["b0.fc2"] : tensor<?x32xf32>, tensor<8x32xf32> -> tensor<?x8xf32>
    %y = vit.linear %a, %w2 layers ["b0.fc2"] : tensor<?x48xf32>, tensor<8x48xf32> -> tensor<?x8xf32>
    return %y : tensor<?x8xf32>
  }
  // The same weights without a norm before them: nothing bounds what the ReLU sees.
  // CHECK-LABEL: func.func @unbounded
  func.func @unbounded(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
    %w1 = vit.get @w1b : tensor<48x8xf32>
    %b1 = vit.get @b1b : tensor<48xf32>
    %w2 = vit.get @w2b : tensor<8x48xf32>
    // CHECK: vit.linear {{.*}} layers ["b1.fc1"] : tensor<?x8xf32>, tensor<48x8xf32>
    %f = vit.linear %x, %w1 layers ["b1.fc1"] : tensor<?x8xf32>, tensor<48x8xf32> -> tensor<?x48xf32> epilogue(%b1 [(m, n) -> (n)] : tensor<48xf32>) group 1 {
    ^bb0(%acc: f32, %bias: f32):
      %r = arith.addf %acc, %bias : f32
      %s = vit.act relu %r : f32
      vit.yield %s : f32
    }
    %y = vit.linear %f, %w2 layers ["b1.fc2"] : tensor<?x48xf32>, tensor<8x48xf32> -> tensor<?x8xf32>
    return %y : tensor<?x8xf32>
  }
  // A gated linear unit whose second weight has 16 columns of zeros.
  // CHECK-LABEL: func.func @glu
  func.func @glu(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
    %g = vit.get @gate : tensor<48x8xf32>
    %u = vit.get @up : tensor<48x8xf32>
    %d = vit.get @holes : tensor<8x48xf32>
    %0 = vit.linear %x, %g layers ["b2.gate_proj"] : tensor<?x8xf32>, tensor<48x8xf32> -> tensor<?x48xf32>
    %1 = vit.linear %x, %u layers ["b2.up"] : tensor<?x8xf32>, tensor<48x8xf32> -> tensor<?x48xf32>
    // CHECK: vit.glu silu {{.*}} : tensor<?x32xf32>, tensor<?x32xf32> -> tensor<?x32xf32>
    %2 = vit.glu silu %0, %1 layers ["b2.glu"] : tensor<?x48xf32>, tensor<?x48xf32> -> tensor<?x48xf32>
    %3 = vit.linear %2, %d layers ["b2.down"] : tensor<?x48xf32>, tensor<8x48xf32> -> tensor<?x8xf32>
    return %3 : tensor<?x8xf32>
  }
  // The second of three blocks of 16 always scores least, and one is kept: it leaves with its gate.
  // CHECK-LABEL: func.func @blocks
  func.func @blocks(%x: tensor<?x8xf32>) -> tensor<?x8xf32> {
    %g = vit.get @ones : tensor<8xf32>
    %b = vit.get @zeros : tensor<8xf32>
    %ws = vit.get @scores : tensor<3x8xf32>
    %bs = vit.get @never : tensor<3xf32>
    %w1 = vit.get @fc1 : tensor<48x8xf32>
    %w2 = vit.get @fc2 : tensor<8x48xf32>
    %h = vit.norm layer %x gamma(%g : tensor<8xf32>) beta(%b : tensor<8xf32>) eps 1.0e-6 layers ["n3"] : tensor<?x8xf32> -> tensor<?x8xf32>
    // CHECK: vit.linear {{.*}} layers ["b3.gate.fc"] : tensor<?x8xf32>, tensor<2x8xf32> -> tensor<?x2xf32>
    %s = vit.linear %h, %ws layers ["b3.gate.fc"] : tensor<?x8xf32>, tensor<3x8xf32> -> tensor<?x3xf32> epilogue(%bs [(m, n) -> (n)] : tensor<3xf32>) group 1 {
    ^bb0(%acc: f32, %bias: f32):
      %r = arith.addf %acc, %bias : f32
      vit.yield %r : f32
    }
    // CHECK: vit.gate topk k 1 weight sigmoid %{{.*}} layers ["b3.gate"] : tensor<?x2xf32> -> tensor<?x2xf32>
    %w = vit.gate topk k 1 weight sigmoid %s layers ["b3.gate"] : tensor<?x3xf32> -> tensor<?x3xf32>
    // CHECK: vit.linear {{.*}} layers ["b3.fc1"] : tensor<?x8xf32>, tensor<32x8xf32> -> tensor<?x32xf32>
    %f = vit.linear %h, %w1 layers ["b3.fc1"] : tensor<?x8xf32>, tensor<48x8xf32> -> tensor<?x48xf32> epilogue(%w [(m, n) -> (m, n floordiv 16)] : tensor<?x3xf32>) group 1 {
    ^bb0(%acc: f32, %weight: f32):
      %a = vit.act gelu_erf %acc : f32
      %r = arith.mulf %a, %weight : f32
      vit.yield %r : f32
    }
    %y = vit.linear %f, %w2 layers ["b3.fc2"] : tensor<?x48xf32>, tensor<8x48xf32> -> tensor<?x8xf32>
    return %y : tensor<?x8xf32>
  }
}
