/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ISA_OPERAND_H
#define VISOR_ISA_OPERAND_H

/*
 * Operand types in the notation of SDM 2D, A.2: a letter for where the operand
 * is (addressing method), then its size. Where the manual has no letter: Z is
 * the register in the low three bits of the opcode, K an opmask register in
 * ModRM.reg, KV one in VEX.vvvv, KE one in ModRM.rm.
 */
enum operand_method {
	METHOD_NONE,
	/* From here to METHOD_LAST_MODRM an instruction has a ModRM byte. */
	METHOD_E,     /* ModRM.rm: general register or memory */
	METHOD_G,     /* ModRM.reg: general register */
	METHOD_M,     /* ModRM.rm: memory only */
	METHOD_R,     /* ModRM.rm: general register only */
	METHOD_S,     /* ModRM.reg: segment register */
	METHOD_C,     /* ModRM.reg: control register */
	METHOD_D,     /* ModRM.reg: debug register */
	METHOD_P,     /* ModRM.reg: MMX register */
	METHOD_Q,     /* ModRM.rm: MMX register or memory */
	METHOD_N,     /* ModRM.rm: MMX register only */
	METHOD_V,     /* ModRM.reg: vector register */
	METHOD_W,     /* ModRM.rm: vector register or memory */
	METHOD_U,     /* ModRM.rm: vector register only */
	METHOD_K,     /* ModRM.reg: opmask register */
	METHOD_KE,    /* ModRM.rm: opmask register or memory */
	METHOD_KR,    /* ModRM.rm: opmask register only */
	METHOD_STI,   /* ModRM.rm: x87 register */
	METHOD_H,     /* VEX.vvvv: vector register */
	METHOD_B,     /* VEX.vvvv: general register */
	METHOD_KV,    /* VEX.vvvv: opmask register */
	METHOD_L,     /* bits 7:4 of an immediate byte: vector register */
	METHOD_LAST_MODRM = METHOD_L,
	METHOD_Z,     /* low bits of the opcode: general register */
	METHOD_A,     /* far pointer in the instruction */
	METHOD_I,     /* immediate, zero-extended */
	METHOD_IS,    /* immediate, sign-extended */
	METHOD_J,     /* relative branch target */
	METHOD_O,     /* offset without ModRM */
	METHOD_ONE,   /* the constant 1 */
	METHOD_RAX,   /* always the same general register */
	METHOD_RCX,
	METHOD_RDX,
	METHOD_SEG,   /* always the same segment register */
	METHOD_ST,    /* ST(0) */
	METHOD_XMM0,
};

enum operand_size {
	SIZE_0,   /* no data, or of a size that only execution knows */
	SIZE_1, SIZE_2, SIZE_4, SIZE_8, SIZE_10, SIZE_16, SIZE_32, SIZE_64,
	SIZE_V,   /* 2, 4 or 8 by operand size */
	SIZE_Z,   /* 2 or 4 */
	SIZE_Y,   /* 4 or 8: 8 with W in 64-bit mode */
	SIZE_N,   /* 4, in 64-bit mode 8 */
	SIZE_P,   /* far pointer: selector and an offset of operand size */
	SIZE_S,   /* pseudo-descriptor: 6 bytes, in 64-bit mode 10 */
	SIZE_A,   /* BOUND's pair of operand-size bounds */
	SIZE_X,   /* vector length, and its half, quarter and eighth */
	SIZE_X2, SIZE_X4, SIZE_X8,
	SIZE_DUP, /* VMOVDDUP's source: 8 bytes for a 16-byte vector, else the vector length */
	SIZE_AD,  /* address size */
	SIZE_E,   /* element: 4 with W0, 8 with W1 */
};

/* X(name, method, size or, for SEG, the register). MeX, MeX2: VSIB; the index vector is as long as VL, or half. */
#define ISA_OPERAND_TYPES(X) \
	X(Eb, E, SIZE_1) X(Ew, E, SIZE_2) X(Ed, E, SIZE_4) X(Eq, E, SIZE_8) X(Ev, E, SIZE_V) X(Ey, E, SIZE_Y) \
	X(Ez, E, SIZE_Z) \
	X(Gb, G, SIZE_1) X(Gw, G, SIZE_2) X(Gd, G, SIZE_4) X(Gq, G, SIZE_8) X(Gv, G, SIZE_V) X(Gy, G, SIZE_Y) \
	X(Gz, G, SIZE_Z) X(Gn, G, SIZE_N) X(Ga, G, SIZE_AD) \
	X(M, M, SIZE_0) X(Mb, M, SIZE_1) X(Mw, M, SIZE_2) X(Md, M, SIZE_4) X(Mq, M, SIZE_8) X(Mt, M, SIZE_10) \
	X(Mdq, M, SIZE_16) X(Mqq, M, SIZE_32) X(M64, M, SIZE_64) X(Mv, M, SIZE_V) X(My, M, SIZE_Y) \
	X(Mp, M, SIZE_P) X(Ms, M, SIZE_S) X(Ma, M, SIZE_A) X(Mx, M, SIZE_X) X(MeX, M, SIZE_E) X(MeX2, M, SIZE_E) \
	X(Rd, R, SIZE_4) X(Rq, R, SIZE_8) X(Rv, R, SIZE_V) X(Ry, R, SIZE_Y) X(Rn, R, SIZE_N) \
	X(Sw, S, SIZE_2) \
	X(Cn, C, SIZE_N) \
	X(Dn, D, SIZE_N) \
	X(Pq, P, SIZE_8) X(Pd, P, SIZE_4) \
	X(Qd, Q, SIZE_4) X(Qq, Q, SIZE_8) \
	X(Nq, N, SIZE_8) \
	X(Vx, V, SIZE_X) X(Vx2, V, SIZE_X2) X(Vdq, V, SIZE_16) \
	X(Vd, V, SIZE_4) \
	X(Vq, V, SIZE_8) X(Vss, V, SIZE_4) X(Vsd, V, SIZE_8) \
	X(Wx, W, SIZE_X) X(Wx2, W, SIZE_X2) X(Wx4, W, SIZE_X4) X(Wx8, W, SIZE_X8) X(Wdq, W, SIZE_16) \
	X(Wqq, W, SIZE_32) X(Wb, W, SIZE_1) X(Ww, W, SIZE_2) X(Wd, W, SIZE_4) X(Wq, W, SIZE_8) X(Wss, W, SIZE_4) \
	X(Wsd, W, SIZE_8) X(Wdup, W, SIZE_DUP) \
	X(Ux, U, SIZE_X) X(Udq, U, SIZE_16) \
	X(Uq, U, SIZE_8) X(Uss, U, SIZE_4) X(Usd, U, SIZE_8) \
	X(Hx, H, SIZE_X) X(Hdq, H, SIZE_16) X(Hss, H, SIZE_4) X(Hsd, H, SIZE_8) \
	X(Hx2, H, SIZE_X2) \
	X(Lx, L, SIZE_X) \
	X(By, B, SIZE_Y) \
	X(Kb, K, SIZE_1) X(Kw, K, SIZE_2) X(Kd, K, SIZE_4) X(Kq, K, SIZE_8) X(K, K, SIZE_8) \
	X(KEb, KE, SIZE_1) X(KEw, KE, SIZE_2) X(KEd, KE, SIZE_4) X(KEq, KE, SIZE_8) \
	X(KRb, KR, SIZE_1) X(KRw, KR, SIZE_2) X(KRd, KR, SIZE_4) X(KRq, KR, SIZE_8) X(KR, KR, SIZE_8) \
	X(KVb, KV, SIZE_1) X(KVw, KV, SIZE_2) X(KVd, KV, SIZE_4) X(KVq, KV, SIZE_8) \
	X(STi, STI, SIZE_10) X(ST, ST, SIZE_10) X(XMM0, XMM0, SIZE_16) \
	X(Zb, Z, SIZE_1) X(Zv, Z, SIZE_V) \
	X(Ap, A, SIZE_P) \
	X(Ib, I, SIZE_1) X(Iw, I, SIZE_2) X(Iv, I, SIZE_V) \
	X(Ibs, IS, SIZE_1) X(Iz, IS, SIZE_Z) \
	X(Jb, J, SIZE_1) X(Jz, J, SIZE_Z) X(Ob, O, SIZE_1) X(Ov, O, SIZE_V) X(One, ONE, SIZE_1) \
	X(AL, RAX, SIZE_1) X(CL, RCX, SIZE_1) X(AX, RAX, SIZE_2) X(DX, RDX, SIZE_2) \
	X(eAX, RAX, SIZE_Z) X(rAX, RAX, SIZE_V) X(ES, SEG, 0) X(CS, SEG, 1) X(SS, SEG, 2) X(DS, SEG, 3) \
	X(FS, SEG, 4) X(GS, SEG, 5)

enum isa_operand_type {
	OPERAND_TYPE_NONE,
#define ISA_OPERAND_ENUM_(name, method, size) OPERAND_TYPE_##name,
	ISA_OPERAND_TYPES(ISA_OPERAND_ENUM_)
#undef ISA_OPERAND_ENUM_
	OPERAND_TYPE_COUNT
};

/* The method of each type as a constant, METHOD_OF_Ev. */
enum {
#define ISA_OPERAND_METHOD_(name, method, size) METHOD_OF_##name = METHOD_##method,
	ISA_OPERAND_TYPES(ISA_OPERAND_METHOD_)
#undef ISA_OPERAND_METHOD_
};

#endif
