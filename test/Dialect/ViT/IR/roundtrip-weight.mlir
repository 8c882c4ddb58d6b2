// RUN: vitrify-opt %s -o %t.mlir
// RUN: vitrify-opt %t.mlir | FileCheck %s
// RUN: vitrify-opt %s --emit-bytecode | vitrify-opt | diff %t.mlir -

// CHECK: vit.source @ckpt path "model.safetensors" size 1024 header_sha256 "{{0+}}"
vit.source @ckpt path "model.safetensors" size 1024 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
// CHECK: vit.weight @w : tensor<6x4xf32> {
vit.weight @w : tensor<6x4xf32> {
  // CHECK-NEXT: %{{.*}} = vit.read @ckpt "a.weight" : tensor<6x4xf32>
  %0 = vit.read @ckpt "a.weight" : tensor<6x4xf32>
  // CHECK-NEXT: vit.yield %{{.*}} : tensor<6x4xf32>
  vit.yield %0 : tensor<6x4xf32>
}
// CHECK: vit.weight @again : tensor<6x4xf32> {
vit.weight @again : tensor<6x4xf32> {
  // CHECK-NEXT: %{{.*}} = vit.get @w : tensor<6x4xf32>
  %0 = vit.get @w : tensor<6x4xf32>
  // CHECK-NEXT: vit.yield %{{.*}} : tensor<6x4xf32>
  vit.yield %0 : tensor<6x4xf32>
}
// CHECK: vit.weight @literal : tensor<1xf32> {
vit.weight @literal : tensor<1xf32> {
  // CHECK-NEXT: %{{.*}} = vit.literal dense<5.000000e-01> : tensor<1xf32>
  %0 = vit.literal dense<5.000000e-01> : tensor<1xf32>
  // CHECK-NEXT: vit.yield %{{.*}} : tensor<1xf32>
  vit.yield %0 : tensor<1xf32>
}
// CHECK: vit.weight @slice : tensor<2x4xf32> {
vit.weight @slice : tensor<2x4xf32> {
  // CHECK-NEXT: %{{.*}} = vit.read @ckpt "t" : tensor<6x4xf32>
  %0 = vit.read @ckpt "t" : tensor<6x4xf32>
  // CHECK-NEXT: %{{.*}} = vit.slice %{{.*}} axis 0 from 2 to 4 : tensor<6x4xf32> -> tensor<2x4xf32>
  %1 = vit.slice %0 axis 0 from 2 to 4 : tensor<6x4xf32> -> tensor<2x4xf32>
  // CHECK-NEXT: vit.yield %{{.*}} : tensor<2x4xf32>
  vit.yield %1 : tensor<2x4xf32>
}
// CHECK: vit.weight @gather : tensor<6x3xf32> {
vit.weight @gather : tensor<6x3xf32> {
  // CHECK-NEXT: %{{.*}} = vit.read @ckpt "t" : tensor<6x4xf32>
  %0 = vit.read @ckpt "t" : tensor<6x4xf32>
  // CHECK-NEXT: %{{.*}} = vit.gather %{{.*}} axis 1 [0, 3, 1] : tensor<6x4xf32> -> tensor<6x3xf32>
  %1 = vit.gather %0 axis 1 [0, 3, 1] : tensor<6x4xf32> -> tensor<6x3xf32>
  // CHECK-NEXT: vit.yield %{{.*}} : tensor<6x3xf32>
  vit.yield %1 : tensor<6x3xf32>
}
// CHECK: vit.weight @concat : tensor<6x8xbf16> {
vit.weight @concat : tensor<6x8xbf16> {
  // CHECK-NEXT: %{{.*}} = vit.read @ckpt "t" : tensor<6x4xbf16>
  %0 = vit.read @ckpt "t" : tensor<6x4xbf16>
  // CHECK-NEXT: %{{.*}} = vit.concat %{{.*}}, %{{.*}} axis 1 : tensor<6x4xbf16>, tensor<6x4xbf16> -> tensor<6x8xbf16>
  %1 = vit.concat %0, %0 axis 1 : tensor<6x4xbf16>, tensor<6x4xbf16> -> tensor<6x8xbf16>
  // CHECK-NEXT: vit.yield %{{.*}} : tensor<6x8xbf16>
  vit.yield %1 : tensor<6x8xbf16>
}
// CHECK: vit.weight @shapes : tensor<8x3xf16> {
vit.weight @shapes : tensor<8x3xf16> {
  // CHECK-NEXT: %{{.*}} = vit.read @ckpt "t" : tensor<6x4xf16>
  %0 = vit.read @ckpt "t" : tensor<6x4xf16>
  // CHECK-NEXT: %{{.*}} = vit.transpose %{{.*}} : tensor<6x4xf16> -> tensor<4x6xf16>
  %1 = vit.transpose %0 : tensor<6x4xf16> -> tensor<4x6xf16>
  // CHECK-NEXT: %{{.*}} = vit.reshape %{{.*}} : tensor<4x6xf16> -> tensor<8x3xf16>
  %2 = vit.reshape %1 : tensor<4x6xf16> -> tensor<8x3xf16>
  // CHECK-NEXT: vit.yield %{{.*}} : tensor<8x3xf16>
  vit.yield %2 : tensor<8x3xf16>
}
// CHECK: vit.weight @cast : tensor<6xf16> {
vit.weight @cast : tensor<6xf16> {
  // CHECK-NEXT: %{{.*}} = vit.read @ckpt "t" : tensor<6xf32>
  %0 = vit.read @ckpt "t" : tensor<6xf32>
  // CHECK-NEXT: %{{.*}} = vit.cast %{{.*}} : tensor<6xf32> -> tensor<6xf16>
  %1 = vit.cast %0 : tensor<6xf32> -> tensor<6xf16>
  // CHECK-NEXT: vit.yield %{{.*}} : tensor<6xf16>
  vit.yield %1 : tensor<6xf16>
}
// CHECK: vit.weight @rows : tensor<6xf32> {
vit.weight @rows : tensor<6xf32> {
  // CHECK-NEXT: %{{.*}} = vit.read @ckpt "t" : tensor<6x4xf32>
  %0 = vit.read @ckpt "t" : tensor<6x4xf32>
  // CHECK-NEXT: %{{.*}} = vit.amax %{{.*}} axis 1 div 4.480000e+02 : tensor<6x4xf32> -> tensor<6xf32>
  %1 = vit.amax %0 axis 1 div 4.480000e+02 : tensor<6x4xf32> -> tensor<6xf32>
  // CHECK-NEXT: %{{.*}} = vit.recip %{{.*}} : tensor<6xf32> -> tensor<6xf32>
  %2 = vit.recip %1 : tensor<6xf32> -> tensor<6xf32>
  // CHECK-NEXT: %{{.*}} = vit.sum %{{.*}} : tensor<6x4xf32> -> tensor<6xf32>
  %3 = vit.sum %0 : tensor<6x4xf32> -> tensor<6xf32>
  // CHECK-NEXT: %{{.*}} = vit.mul %{{.*}}, %{{.*}} : tensor<6xf32>, tensor<6xf32> -> tensor<6xf32>
  %4 = vit.mul %3, %2 : tensor<6xf32>, tensor<6xf32> -> tensor<6xf32>
  // CHECK-NEXT: vit.yield %{{.*}} : tensor<6xf32>
  vit.yield %4 : tensor<6xf32>
}
// CHECK: vit.weight @all : tensor<1xf32> {
vit.weight @all : tensor<1xf32> {
  // CHECK-NEXT: %{{.*}} = vit.read @ckpt "t" : tensor<6x4xbf16>
  %0 = vit.read @ckpt "t" : tensor<6x4xbf16>
  // CHECK-NEXT: %{{.*}} = vit.amax %{{.*}} div 4.480000e+02 : tensor<6x4xbf16> -> tensor<1xf32>
  %1 = vit.amax %0 div 4.480000e+02 : tensor<6x4xbf16> -> tensor<1xf32>
  // CHECK-NEXT: vit.yield %{{.*}} : tensor<1xf32>
  vit.yield %1 : tensor<1xf32>
}
// CHECK: vit.weight @broadcast : tensor<6x4xf32> {
vit.weight @broadcast : tensor<6x4xf32> {
  // CHECK-NEXT: %{{.*}} = vit.read @ckpt "t" : tensor<6x4xf32>
  %0 = vit.read @ckpt "t" : tensor<6x4xf32>
  // CHECK-NEXT: %{{.*}} = vit.literal dense<1.000000e+00> : tensor<6xf32>
  %1 = vit.literal dense<1.000000e+00> : tensor<6xf32>
  // CHECK-NEXT: %{{.*}} = vit.literal dense<1.000000e+00> : tensor<4xf32>
  %2 = vit.literal dense<1.000000e+00> : tensor<4xf32>
  // CHECK-NEXT: %{{.*}} = vit.literal dense<1.000000e+00> : tensor<1xf32>
  %3 = vit.literal dense<1.000000e+00> : tensor<1xf32>
  // CHECK-NEXT: %{{.*}} = vit.add %{{.*}}, %{{.*}} : tensor<6x4xf32>, tensor<6xf32> -> tensor<6x4xf32>
  %4 = vit.add %0, %1 : tensor<6x4xf32>, tensor<6xf32> -> tensor<6x4xf32>
  // CHECK-NEXT: %{{.*}} = vit.sub %{{.*}}, %{{.*}} columns : tensor<6x4xf32>, tensor<4xf32> -> tensor<6x4xf32>
  %5 = vit.sub %4, %2 columns : tensor<6x4xf32>, tensor<4xf32> -> tensor<6x4xf32>
  // CHECK-NEXT: %{{.*}} = vit.mul %{{.*}}, %{{.*}} : tensor<6x4xf32>, tensor<1xf32> -> tensor<6x4xf32>
  %6 = vit.mul %5, %3 : tensor<6x4xf32>, tensor<1xf32> -> tensor<6x4xf32>
  // CHECK-NEXT: %{{.*}} = vit.add %{{.*}}, %{{.*}} : tensor<6x4xf32>, tensor<6x4xf32> -> tensor<6x4xf32>
  %7 = vit.add %6, %0 : tensor<6x4xf32>, tensor<6x4xf32> -> tensor<6x4xf32>
  // CHECK-NEXT: vit.yield %{{.*}} : tensor<6x4xf32>
  vit.yield %7 : tensor<6x4xf32>
}
// CHECK: vit.weight @codes : tensor<6x16xf8E4M3FN> {
vit.weight @codes : tensor<6x16xf8E4M3FN> {
  // CHECK-NEXT: %{{.*}} = vit.read @ckpt "t" : tensor<6x4xf32>
  %0 = vit.read @ckpt "t" : tensor<6x4xf32>
  // CHECK-NEXT: %{{.*}} = vit.get @rows : tensor<6xf32>
  %1 = vit.get @rows : tensor<6xf32>
  // CHECK-NEXT: %{{.*}} = vit.round %{{.*}}, %{{.*}} : tensor<6x4xf32>, tensor<6xf32> -> tensor<6x4xf8E4M3FN>
  %2 = vit.round %0, %1 : tensor<6x4xf32>, tensor<6xf32> -> tensor<6x4xf8E4M3FN>
  // CHECK-NEXT: %{{.*}} = vit.pad %{{.*}} axis 1 to_multiple 16 : tensor<6x4xf8E4M3FN> -> tensor<6x16xf8E4M3FN>
  %3 = vit.pad %2 axis 1 to_multiple 16 : tensor<6x4xf8E4M3FN> -> tensor<6x16xf8E4M3FN>
  // CHECK-NEXT: vit.yield %{{.*}} : tensor<6x16xf8E4M3FN>
  vit.yield %3 : tensor<6x16xf8E4M3FN>
}
// CHECK: vit.weight @blocks : tensor<6x4xf32> {
vit.weight @blocks : tensor<6x4xf32> {
  // CHECK-NEXT: %{{.*}} = vit.read @ckpt "t" : tensor<6x4xf32>
  %0 = vit.read @ckpt "t" : tensor<6x4xf32>
  // CHECK-NEXT: %{{.*}} = vit.literal dense<5.000000e-01> : tensor<2x1xf32>
  %1 = vit.literal dense<5.000000e-01> : tensor<2x1xf32>
  // CHECK-NEXT: %{{.*}} = vit.round %{{.*}}, %{{.*}} block [4, 4] : tensor<6x4xf32>, tensor<2x1xf32> -> tensor<6x4xf8E4M3FN>
  %2 = vit.round %0, %1 block [4, 4] : tensor<6x4xf32>, tensor<2x1xf32> -> tensor<6x4xf8E4M3FN>
  // CHECK-NEXT: %{{.*}} = vit.dequant %{{.*}}, %{{.*}} block [4, 4] : tensor<6x4xf8E4M3FN>, tensor<2x1xf32> -> tensor<6x4xf32>
  %3 = vit.dequant %2, %1 block [4, 4] : tensor<6x4xf8E4M3FN>, tensor<2x1xf32> -> tensor<6x4xf32>
  // CHECK-NEXT: vit.yield %{{.*}} : tensor<6x4xf32>
  vit.yield %3 : tensor<6x4xf32>
}
// CHECK: vit.weight @nvfp4 : tensor<4x36xf4E2M1FN> {
vit.weight @nvfp4 : tensor<4x36xf4E2M1FN> {
  // CHECK-NEXT: %[[W:.*]] = vit.read @ckpt "four" : tensor<4x32xf32>
  %0 = vit.read @ckpt "four" : tensor<4x32xf32>
  // CHECK-NEXT: %[[M:.*]] = vit.amax %[[W]] block [1, 16] div 6.0{{.*}} : tensor<4x32xf32> -> tensor<4x2xf32>
  %1 = vit.amax %0 block [1, 16] div 6.0 : tensor<4x32xf32> -> tensor<4x2xf32>
  %2 = vit.literal dense<1.0> : tensor<1xf32>
  %3 = vit.round %1, %2 : tensor<4x2xf32>, tensor<1xf32> -> tensor<4x2xf8E4M3FN>
  // CHECK: %[[C:.*]] = vit.round %[[W]], %[[M]] block [1, 16] : tensor<4x32xf32>, tensor<4x2xf32> -> tensor<4x32xf4E2M1FN>
  %4 = vit.round %0, %1 block [1, 16] : tensor<4x32xf32>, tensor<4x2xf32> -> tensor<4x32xf4E2M1FN>
  // CHECK-NEXT: vit.blocks %[[C]], %{{.*}} : tensor<4x32xf4E2M1FN>, tensor<4x2xf8E4M3FN> -> tensor<4x36xf4E2M1FN>
  %5 = vit.blocks %4, %3 : tensor<4x32xf4E2M1FN>, tensor<4x2xf8E4M3FN> -> tensor<4x36xf4E2M1FN>
  vit.yield %5 : tensor<4x36xf4E2M1FN>
}
