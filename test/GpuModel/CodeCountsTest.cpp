//===- CodeCountsTest.cpp - what a GPU kernel's code holds ----------------===//
// Part of vitrify, under the Apache License v2.0 with LLVM Exceptions.
// SPDX-License-Identifier: Apache-2.0 WITH LLVM-exception
//===----------------------------------------------------------------------===//
#include "vitrify/GpuModel/CodeCounts.h"

#include <gtest/gtest.h>

using namespace vitrify;

namespace {

// A loop of two products with a block in it that not every trip executes, an inner wait without products, an epilogue,
// and the loop without an entry that ends every kernel.
const char *kSass = R"(
	.headerflags	@"EF_CUDA_TEXMODE_UNIFIED"
//--------------------- .text.first --------------------------
	.section	.text.first,"ax",@progbits
	.sectioninfo	@"SHI_REGISTERS=40"
	.align	128
        .global         first
        .type           first,@function
first:
.text.first:
        /*0000*/                   MOV R1, c[0x0][0x28] ;
        /*0010*/                   LDGSTS.E.BYPASS.128 [R3], [R4.64] ;
        /*0020*/                   LDGDEPBAR ;
.L_x_0:
        /*0030*/                   DEPBAR.LE SB0, 0x1 ;
        /*0040*/                   BAR.SYNC.DEFER_BLOCKING 0x0 ;
        /*0050*/                   LDSM.16.M88.4 R8, [R2] ;
        /*0060*/              @P1  BRA `(.L_x_1) ;
        /*0070*/                   LDGSTS.E.BYPASS.128 [R3], [R4.64] ;
.L_x_1:
        /*0080*/                   QMMA.16832.F32.E4M3.E4M3 R12, R8, R10, R12 ;
        /*0090*/                   QMMA.16832.F16.E4M3.E4M3 R16, R8, R10, R16 ;
.L_x_2:
        /*00a0*/                   LDS.128 R20, [R2] ;
        /*00b0*/               @P2 BRA `(.L_x_2) ;
        /*00c0*/              @!P0 BRA `(.L_x_0) ;
        /*00d0*/                   MUFU.TANH R5, R5 ;
        /*00e0*/                   F2FP.SATFINITE.E4M3.F32.PACK_AB_MERGE_C R5, R6, R5, RZ ;
        /*00f0*/                   STG.E [R4.64], R5 ;
        /*0100*/                   EXIT ;
.L_x_3:
        /*0110*/                   BRA `(.L_x_3);
        /*0120*/                   NOP;
//--------------------- .text.second --------------------------
	.section	.text.second,"ax",@progbits
.text.second:
        /*0000*/                   HMMA.16816.F32.BF16 R4, R8, R10, R4 ;
        /*0010*/                   HMMA.16816.F16 R4, R8, R10, R4 ;
        /*0020*/                   STL [R1], R4 ;
        /*0030*/                   EXIT ;
//--------------------- .nv.shared.second --------------------------
	.section	.nv.shared.second,"aw",@nobits
)";

const char *kPtx = R"(
.version 8.4
.target sm_89
.address_size 64
.extern .shared .align 128 .b8 dynamic_shared[];
	// .globl	first
.visible .entry first(
	.param .u64 first_param_0
)
.reqntid 128
{
	.reg .pred 	%p<2>;
	.reg .b32 	%r<9>;
	ld.param.b64 	%rd1, [first_param_0];
	cp.async.cg.shared.global [%r1], [%rd1], 16, %r2;
	cp.async.commit_group;
$L__BB0_1:                              // the loop
	cp.async.wait_group 1;
	bar.sync 	0;
	ldmatrix.sync.aligned.m8n8.x4.shared.b16 	{%r1, %r2, %r3, %r4}, [%r5];
	mma.sync.aligned.m16n8k32.row.col.f32.e4m3.e4m3.f32
		{%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f1, %f2, %f3, %f4};
	@%p1 bra 	$L__BB0_1;
	tanh.approx.f32 	%f5, %f1;
	cvt.rn.satfinite.e4m3x2.f32 	%rs1, %f5, %f6;
	st.shared.v4.b32 	[%r1], {%r1, %r2, %r3, %r4};
	st.global.b32 	[%rd1], %r1;
	ret;
}
.visible .entry second(.param .u64 p)
{
	mma.sync.aligned.m16n8k16.row.col.f16.f16.f16.f16 {%r1, %r2}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%r1, %r2};
	mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f1, %f2, %f3, %f4}, {%r1, %r2, %r3, %r4}, {%r5, %r6}, {%f1, %f2, %f3, %f4};
	st.local.b32 [%rd1], %r1;
	ret;
}
)";

} // namespace

TEST(CodeCounts, SassWithALoop) {
  auto kernels = countSass(kSass);
  ASSERT_TRUE(kernels.ok());
  ASSERT_EQ(kernels->size(), 2u);
  const KernelCode &k = (*kernels)[0];
  EXPECT_EQ(k.name, "first");
  EXPECT_EQ(k.registers, 40);
  EXPECT_EQ(k.all.instructions, 19);
  EXPECT_EQ(k.all.asyncCopies, 2);
  EXPECT_EQ(k.precision(), "f8");
  ASSERT_TRUE(k.hasLoop);
  EXPECT_EQ(k.before.instructions, 3);
  EXPECT_EQ(k.before.asyncBytes, 512);
  // Ten instructions; the copy behind the branch is not in every trip.
  EXPECT_EQ(k.loop.instructions, 9);
  EXPECT_EQ(k.loop.asyncCopies, 0);
  EXPECT_EQ(k.loop.macsF8, 4096);
  EXPECT_EQ(k.loop.macsF8AccF16, 4096);
  EXPECT_EQ(k.loop.sharedBytes, 4 * 128 + 32 * 16);
  EXPECT_EQ(k.loop.barriers, 1);
  EXPECT_EQ(k.loop.asyncWaits, 1);
  EXPECT_EQ(k.loop.matrixLoads, 1);
  EXPECT_EQ(k.after.mufu, 1);
  EXPECT_EQ(k.after.converts, 1);
  EXPECT_EQ(k.after.globalAccesses, 1);
  EXPECT_EQ(k.after.tensor(), 0);
}

TEST(CodeCounts, SassWithoutALoop) {
  const KernelCode k = countSass(kSass)->at(1);
  EXPECT_EQ(k.name, "second");
  EXPECT_FALSE(k.hasLoop);
  EXPECT_EQ(k.all.instructions, 4);
  EXPECT_EQ(k.all.tensorF16, 1);
  EXPECT_EQ(k.all.tensorF16AccF16, 1);
  EXPECT_EQ(k.all.tensorBF16, 1);
  EXPECT_EQ(k.all.macsF16, 2048);
  EXPECT_EQ(k.all.localAccesses, 1);
  EXPECT_EQ(k.precision(), "f16+bf16");
}

TEST(CodeCounts, Ptx) {
  auto kernels = countPtx(kPtx);
  ASSERT_TRUE(kernels.ok());
  ASSERT_EQ(kernels->size(), 2u);
  const KernelCode &k = (*kernels)[0];
  EXPECT_EQ(k.name, "first");
  EXPECT_EQ(k.all.instructions, 13);
  ASSERT_TRUE(k.hasLoop);
  EXPECT_EQ(k.before.asyncCopies, 1);
  EXPECT_EQ(k.before.asyncBytes, 512);
  EXPECT_EQ(k.loop.instructions, 5);
  EXPECT_EQ(k.loop.macsF8, 4096);
  EXPECT_EQ(k.loop.barriers, 1);
  EXPECT_EQ(k.loop.asyncWaits, 1);
  EXPECT_EQ(k.loop.sharedBytes, 512);
  EXPECT_EQ(k.after.mufu, 1);
  EXPECT_EQ(k.after.converts, 1);
  EXPECT_EQ(k.after.sharedBytes, 512);
  EXPECT_EQ((*kernels)[1].all.tensorF16AccF16, 1);
  EXPECT_EQ((*kernels)[1].all.tensorBF16, 1);
  EXPECT_EQ((*kernels)[1].all.localAccesses, 1);
}

TEST(CodeCounts, TheLoopWithMostProductsCounts) {
  // A remainder loop of one product beside an unrolled one of two.
  std::string text = ".text.k:\n.L_a:\n/*0*/ QMMA.16832.F32.E4M3.E4M3 R1, R2, R3, R1 ;\n/*1*/ @P0 BRA `(.L_a) ;\n"
                     ".L_b:\n/*2*/ QMMA.16832.F32.E4M3.E4M3 R1, R2, R3, R1 ;\n/*3*/ QMMA.16832.F32.E4M3.E4M3 R1, R2, R3, R1 ;\n"
                     "/*4*/ @P0 BRA `(.L_b) ;\n/*5*/ EXIT ;\n";
  KernelCode k = countSass(text)->at(0);
  EXPECT_EQ(k.loop.tensorF8, 2);
  EXPECT_EQ(k.before.tensorF8, 1);
  EXPECT_EQ(k.after.instructions, 1);
}

TEST(CodeCounts, TextWithoutKernelsIsRefused) {
  EXPECT_EQ(countSass("").status().code(), StatusCode::DataLoss);
  EXPECT_EQ(countSass("hello\n.text:\n").status().code(), StatusCode::DataLoss);
  EXPECT_EQ(countPtx(".version 8.4\n").status().code(), StatusCode::DataLoss);
  // Cut anywhere, a text is counted or refused.
  for (std::string_view text : {std::string_view(kSass), std::string_view(kPtx)})
    for (size_t length = 0; length < text.size(); length += 7) {
      (void)countSass(text.substr(0, length));
      (void)countPtx(text.substr(0, length));
    }
}

TEST(CodeCounts, TheSlowCopyForDivergedWarpsDoesNotCount) {
  std::string text = ".text.k:\n.L_top:\n/*0*/ HMMA.16816.F32 R1, R2, R3, R1 ;\n/*1*/ BRA.DIV ~URZ, `(.L_slow) ;\n/*2*/ SHFL.BFLY R1, R1 ;\n.L_back:\n"
                     "/*3*/ @P0 BRA `(.L_top) ;\n/*4*/ EXIT ;\n.L_slow:\n/*5*/ MUFU.EX2 R1, R1 ;\n/*6*/ BRA `(.L_back) ;\n";
  KernelCode k = countSass(text)->at(0);
  EXPECT_EQ(k.loop.instructions, 4);
  EXPECT_EQ(k.loop.mufu, 0);
}

TEST(CodeCounts, WorkBehindAConditionCounts) {
  // A trip may skip the products; where it does not, it passes MUFU and one of two forms of a store, and never the last block.
  std::string text = ".text.k:\n.L_top:\n/*0*/ IADD3 R1, R1, R2, RZ ;\n/*1*/ @P0 BRA `(.L_end) ;\n/*2*/ MUFU.EX2 R1, R1 ;\n/*3*/ @P1 BRA `(.L_b) ;\n"
                     "/*4*/ STS [R1], R2 ;\n/*5*/ BRA `(.L_c) ;\n.L_b:\n/*6*/ STS.U8 [R1], R2 ;\n.L_c:\n/*7*/ HMMA.16816.F32 R1, R2, R3, R1 ;\n"
                     "/*8*/ @P2 BRA `(.L_end) ;\n/*9*/ MUFU.RCP R1, R1 ;\n.L_end:\n/*a*/ @P3 BRA `(.L_top) ;\n/*b*/ EXIT ;\n";
  KernelCode k = countSass(text)->at(0);
  ASSERT_TRUE(k.hasLoop);
  EXPECT_EQ(k.loop.instructions, 7); // 0, 1, 2, 3, 7, 8, a
  EXPECT_EQ(k.loop.mufu, 1);
  EXPECT_EQ(k.loop.sharedBytes, 0);
  EXPECT_EQ(k.loop.tensorF16, 1);
  EXPECT_EQ(k.all.mufu, 2);
}
