#include "Support.h"
VITRIFY_ISA_BEGIN
namespace vitrify::emulator::VITRIFY_ISA {
OpList matrixMoreOps() { return {nullptr, 0}; }
}
VITRIFY_ISA_END
