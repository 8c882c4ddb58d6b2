#include "Support.h"
VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
OpList matrixOps() { return {nullptr, 0}; }
}
VITRIFY_ISA_END
