// RUN: not vitrify-opt %s --vit-schedule-weights=order=size 2>&1 | FileCheck %s
// CHECK: error: <Pass-Options-Parser>: no such option order
func.func @f() { return }
