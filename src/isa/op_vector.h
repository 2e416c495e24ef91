/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ISA_OP_VECTOR_H
#define VISOR_ISA_OP_VECTOR_H

#define ISA_OPS_X87(X) \
	X(FADD, "fadd")
#define ISA_OPS_VECTOR(X) \
	X(MOVAPS, "movaps")

#endif
