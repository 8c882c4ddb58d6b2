vit.source @ckpt path "m" size 1024 header_sha256 "0000000000000000000000000000000000000000000000000000000000000000"
vit.weight @w : tensor<8x4xf32> {
  %0 = vit.read @ckpt "w" : tensor<4x8xf32>
  %1 = vit.transpose %0 : tensor<4x8xf32> -> tensor<8x4xf32>
  %2 = vit.gather %1 axis 0 [0, 2, 1] : tensor<8x4xf32> -> tensor<3x4xf32>
  %3 = vit.slice %1 axis 0 from 0 to 5 : tensor<8x4xf32> -> tensor<5x4xf32>
  %4 = vit.concat %2, %3 axis 0 : tensor<3x4xf32>, tensor<5x4xf32> -> tensor<8x4xf32>
  vit.yield %4 : tensor<8x4xf32>
}
vit.weight @s : tensor<8xf32> {
  %0 = vit.get @w : tensor<8x4xf32>
  %1 = vit.amax %0 axis 1 div 448.0 : tensor<8x4xf32> -> tensor<8xf32>
  vit.yield %1 : tensor<8xf32>
}
vit.weight @q : tensor<8x16xf8E4M3FN> {
  %0 = vit.get @w : tensor<8x4xf32>
  %1 = vit.get @s : tensor<8xf32>
  %2 = vit.mul %0, %1 : tensor<8x4xf32>, tensor<8xf32> -> tensor<8x4xf32>
  %3 = vit.round %2, %1 : tensor<8x4xf32>, tensor<8xf32> -> tensor<8x4xf8E4M3FN>
  %4 = vit.dequant %3, %1 : tensor<8x4xf8E4M3FN>, tensor<8xf32> -> tensor<8x4xf32>
  %5 = vit.pad %4 axis 1 to_multiple 16 : tensor<8x4xf32> -> tensor<8x16xf32>
  %6 = vit.literal dense<0.5> : tensor<1xf32>
  %7 = vit.round %5, %6 : tensor<8x16xf32>, tensor<1xf32> -> tensor<8x16xf8E4M3FN>
  vit.yield %7 : tensor<8x16xf8E4M3FN>
}
