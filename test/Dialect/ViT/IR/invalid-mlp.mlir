// RUN: vitrify-opt %s --split-input-file --verify-diagnostics

// linear_c1: another K
func.func @f(%x: tensor<?x5xf32>, %w: tensor<8x4xf32>) {
  // expected-error @+1 {{expected an input [rows, K] and a weight [N, K] with static N and K, found 'tensor<?x5xf32>' and 'tensor<8x4xf32>'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x5xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  return
}

// -----

// linear_c1: an unknown N
func.func @f(%x: tensor<?x4xf32>, %w: tensor<?x4xf32>) {
  // expected-error @+1 {{expected an input [rows, K] and a weight [N, K] with static N and K, found 'tensor<?x4xf32>' and 'tensor<?x4xf32>'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<?x4xf32> -> tensor<?x8xf32>
  return
}

// -----

// linear_c2: codes times floats
func.func @f(%x: tensor<?x4xf8E4M3FN>, %w: tensor<8x4xf32>) {
  // expected-error @+1 {{expected floats, f8E4M3FN or i8 on both sides, or a weight alone of f8E4M3FN or f4E2M1FN, found 'f8E4M3FN' and 'f32'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf8E4M3FN>, tensor<8x4xf32> -> tensor<?x8xf32>
  return
}

// -----

// linear_c2: i8 codes as a weight alone
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xi8>) {
  // expected-error @+1 {{expected floats, f8E4M3FN or i8 on both sides, or a weight alone of f8E4M3FN or f4E2M1FN, found 'f32' and 'i8'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xi8> -> tensor<?x8xf32>
  return
}

// -----

// linear_c3: scales that do not divide K
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %s: tensor<?x3xf32>) {
  // expected-error @+1 {{expected x_scales of x's rows and a divisor of 4 columns, found 'tensor<?x3xf32>'}}
  %r = vit.linear %x, %w x_scales(%s : tensor<?x3xf32>) layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  return
}

// -----

// linear_c3: blocks of rows that no height gives
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %s: tensor<7x2xf32>) {
  // expected-error @+1 {{expected w_scales of 8 rows divided into blocks and a divisor of 4 columns, found 'tensor<7x2xf32>'}}
  %r = vit.linear %x, %w w_scales(%s : tensor<7x2xf32>) layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  return
}

// -----

// linear_c4: blocks that do not divide N
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %s: tensor<?x3xf32>) {
  // expected-error @+1 {{expected a gate of x's rows and a divisor of 8 blocks, found 'tensor<?x3xf32>'}}
  %r = vit.linear %x, %w active(%s : tensor<?x3xf32>) layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  return
}

// -----

// linear_c5: a bf16 result without an epilogue
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>) {
  // expected-error @+1 {{expected an f32 result without an epilogue, found 'tensor<?x8xbf16>'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xbf16>
  return
}

// -----

// linear_c5: a result of another width
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>) {
  // expected-error @+1 {{expected result [?, 8], found 'tensor<?x9xf32>'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x9xf32>
  return
}

// -----

// epilogue_c1: n before m
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<8x?xf32>) {
  // expected-error @+1 {{expected map 0 to be (m, n) to (), (n), (m), (m, n) or (m, n floordiv g), found affine_map<(d0, d1) -> (d1, d0)>}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (n, m)] : tensor<8x?xf32>) group 1 {
  ^bb0(%acc: f32, %b0: f32):
    vit.yield %acc : f32
  }
  return
}

// -----

// epilogue_c1: a sum
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{expected map 0 to be (m, n) to (), (n), (m), (m, n) or (m, n floordiv g), found affine_map<(d0, d1) -> (d1 + 1)>}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (n + 1)] : tensor<8xf32>) group 1 {
  ^bb0(%acc: f32, %b0: f32):
    vit.yield %acc : f32
  }
  return
}

// -----

// epilogue_c1: a division of m
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<?x8xf32>) {
  // expected-error @+1 {{expected map 0 to be (m, n) to (), (n), (m), (m, n) or (m, n floordiv g), found affine_map<(d0, d1) -> (d0 floordiv 2, d1)>}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (m floordiv 2, n)] : tensor<?x8xf32>) group 1 {
  ^bb0(%acc: f32, %b0: f32):
    vit.yield %acc : f32
  }
  return
}

// -----

// epilogue_c1: m twice
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<?x8xf32>) {
  // expected-error @+1 {{expected map 0 to be (m, n) to (), (n), (m), (m, n) or (m, n floordiv g), found affine_map<(d0, d1) -> (d0, d0)>}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (m, m)] : tensor<?x8xf32>) group 1 {
  ^bb0(%acc: f32, %b0: f32):
    vit.yield %acc : f32
  }
  return
}

// -----

// epilogue_c1: one dimension
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{expected map 0 to be (m, n) to (), (n), (m), (m, n) or (m, n floordiv g), found affine_map<(d0) -> (d0)>}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(n) -> (n)] : tensor<8xf32>) group 1 {
  ^bb0(%acc: f32, %b0: f32):
    vit.yield %acc : f32
  }
  return
}

// -----

// epilogue_c1: a map too few
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{expected 1 maps, one an epilogue operand, found 0}}
  %r = "vit.linear"(%x, %w, %b) <{group = 1 : i64, layers = ["l"], maps = [], operandSegmentSizes = array<i32: 1, 1, 0, 0, 0, 1>}> ({
  ^bb0(%acc: f32, %b0: f32):
    vit.yield %acc : f32
  }) : (tensor<?x4xf32>, tensor<8x4xf32>, tensor<8xf32>) -> tensor<?x8xf32>
  return
}

// -----

// epilogue_c2: a bias that is too long
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<9xf32>) {
  // expected-error @+1 {{expected epilogue operand 0 [8], found 'tensor<9xf32>'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (n)] : tensor<9xf32>) group 1 {
  ^bb0(%acc: f32, %b0: f32):
    vit.yield %acc : f32
  }
  return
}

// -----

// epilogue_c2: a scale of two elements as a scalar
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<2xf32>) {
  // expected-error @+1 {{expected epilogue operand 0 [1], found 'tensor<2xf32>'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> ()] : tensor<2xf32>) group 1 {
  ^bb0(%acc: f32, %b0: f32):
    vit.yield %acc : f32
  }
  return
}

// -----

// epilogue_c2: a factor for other blocks
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<?x4xf32>) {
  // expected-error @+1 {{expected epilogue operand 0 [?, 2], found 'tensor<?x4xf32>'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (m, n floordiv 4)] : tensor<?x4xf32>) group 1 {
  ^bb0(%acc: f32, %b0: f32):
    vit.yield %acc : f32
  }
  return
}

// -----

// epilogue_c3: an argument too few
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{expected 2 arguments of the epilogue, the accumulator and one an operand, found 1}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (n)] : tensor<8xf32>) group 1 {
  ^bb0(%acc: f32):
    vit.yield %acc : f32
  }
  return
}

// -----

// epilogue_c3: an accumulator of f16
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{expected 'f32' as argument 0 of the epilogue, found 'f16'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (n)] : tensor<8xf32>) group 1 {
  ^bb0(%acc: f16, %b0: f32):
    vit.yield %b0 : f32
  }
  return
}

// -----

// epilogue_c3: an operand of another type
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<8xbf16>) {
  // expected-error @+1 {{expected 'bf16' as argument 1 of the epilogue, found 'f32'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (n)] : tensor<8xbf16>) group 1 {
  ^bb0(%acc: f32, %b0: f32):
    vit.yield %acc : f32
  }
  return
}

// -----

// epilogue_c3: a scalar for a group of 2
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{expected 'vector<2xf32>' as argument 1 of the epilogue, found 'f32'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (n)] : tensor<8xf32>) group 2 {
  ^bb0(%acc: vector<2xf32>, %b0: f32):
    vit.yield %acc : vector<2xf32>
  }
  return
}

// -----

// epilogue_c4: a group that does not divide N
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{expected a group that divides the 8 columns, found 3}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (n)] : tensor<8xf32>) group 3 {
  ^bb0(%acc: f32, %b0: f32):
    vit.yield %acc : f32
  }
  return
}

// -----

// epilogue_c4: a group of 0
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{expected a group that divides the 8 columns, found 0}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (n)] : tensor<8xf32>) group 0 {
  ^bb0(%acc: f32, %b0: f32):
    vit.yield %acc : f32
  }
  return
}

// -----

// epilogue_c5: two values for one result
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{expected 1 yielded values, one a result, found 2}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (n)] : tensor<8xf32>) group 1 {
  ^bb0(%acc: f32, %b0: f32):
    vit.yield %acc, %b0 : f32, f32
  }
  return
}

// -----

// epilogue_c5: another element type
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{expected result 0 of the yielded element type 'f32', found 'tensor<?x8xbf16>'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xbf16> epilogue(%b [(m, n) -> (n)] : tensor<8xf32>) group 1 {
  ^bb0(%acc: f32, %b0: f32):
    vit.yield %acc : f32
  }
  return
}

// -----

// epilogue_c5: one value for each pair, but all columns
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{expected result 0 [?, 4], found 'tensor<?x8xf32>'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (n)] : tensor<8xf32>) group 2 {
  ^bb0(%acc: vector<2xf32>, %b0: vector<2xf32>):
    %s = vector.reduction <add>, %acc : vector<2xf32> into f32
    vit.yield %s : f32
  }
  return
}

// -----

// epilogue_c5: a vector for group 1
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %b: tensor<8xf32>) {
  // expected-error @+1 {{expected a scalar as yielded value 0, found 'vector<1xf32>'}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue(%b [(m, n) -> (n)] : tensor<8xf32>) group 1 {
  ^bb0(%acc: f32, %b0: f32):
    %v = vector.broadcast %acc : f32 to vector<1xf32>
    vit.yield %v : vector<1xf32>
  }
  return
}

// -----

// epilogue_c6: an op that is not elementwise
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>) {
  // expected-error @+1 {{expected arith, math, vector, vit.act and vit.convert ops in the epilogue}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue() group 1 {
  ^bb0(%acc: f32):
    // expected-note @+1 {{found tensor.empty}}
    %e = tensor.empty() : tensor<1xf32>
    vit.yield %acc : f32
  }
  return
}

// -----

// epilogue_c6: no yield
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>) {
  // expected-error @+1 {{expected a vit.yield at the end of the epilogue}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue() group 1 {
  ^bb0(%acc: f32):
    %e = arith.addf %acc, %acc : f32
  }
  return
}

// -----

// epilogue_c6: a value of the outside
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %s: f32) {
  // expected-note @+1 {{required by region isolation constraints}}
  %r = vit.linear %x, %w layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32> epilogue() group 1 {
  ^bb0(%acc: f32):
    // expected-error @+1 {{using value defined outside the region}}
    %e = arith.addf %acc, %s : f32
    vit.yield %e : f32
  }
  return
}

// -----

// act_c1: a result of another type
func.func @f(%x: f32) {
  // expected-error @+1 {{requires the same type for all operands and results}}
  %r = "vit.act"(%x) <{kind = #vit<act_kind relu>}> : (f32) -> f16
  return
}

// -----

// act_c2: a tensor without layers
func.func @f(%x: tensor<?x8xf32>) {
  // expected-error @+1 {{expected layers on a tensor}}
  %r = vit.act relu %x : tensor<?x8xf32>
  return
}

// -----

// act_c2: layers on a scalar
func.func @f(%x: f32) {
  // expected-error @+1 {{expected no layers on a scalar or vector}}
  %r = vit.act relu %x layers ["a"] : f32
  return
}

// -----

// glu_c1: a narrow up
func.func @f(%g: tensor<?x8xf32>, %u: tensor<?x7xf32>) {
  // expected-error @+1 {{expected gate, up and result of one type, found 'tensor<?x8xf32>', 'tensor<?x7xf32>' and 'tensor<?x8xf32>'}}
  %r = vit.glu silu %g, %u layers ["g"] : tensor<?x8xf32>, tensor<?x7xf32> -> tensor<?x8xf32>
  return
}

// -----

// linear_c2: E4M3 scales of a weight that is no E2M1 codes
func.func @f(%x: tensor<?x4xf32>, %w: tensor<8x4xf32>, %s: tensor<8x2xf8E4M3FN>) {
  // expected-error @+1 {{expected w_scales in f32, or in f8E4M3FN with a weight of f4E2M1FN, found 'tensor<8x2xf8E4M3FN>' and 'tensor<8x4xf32>'}}
  %r = vit.linear %x, %w w_scales(%s : tensor<8x2xf8E4M3FN>) layers ["l"] : tensor<?x4xf32>, tensor<8x4xf32> -> tensor<?x8xf32>
  return
}
