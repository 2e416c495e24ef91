/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ISA_OP_VECTOR_H
#define VISOR_ISA_OP_VECTOR_H

/* x87; the names are the no-wait forms', since FWAIT is an instruction of its own. FSTPNCE is FSTP that reports no empty register. */
#define ISA_OPS_X87(X) \
	X(FADD, "fadd") \
	X(FMUL, "fmul") \
	X(FCOM, "fcom") \
	X(FCOMP, "fcomp") \
	X(FSUB, "fsub") \
	X(FSUBR, "fsubr") \
	X(FDIV, "fdiv") \
	X(FDIVR, "fdivr") \
	X(FLD, "fld") \
	X(FST, "fst") \
	X(FSTP, "fstp") \
	X(FLDENV, "fldenv") \
	X(FLDCW, "fldcw") \
	X(FNSTENV, "fnstenv") \
	X(FNSTCW, "fnstcw") \
	X(FXCH, "fxch") \
	X(FNOP, "fnop") \
	X(FSTPNCE, "fstpnce") \
	X(FCHS, "fchs") \
	X(FABS, "fabs") \
	X(FTST, "ftst") \
	X(FXAM, "fxam") \
	X(FLD1, "fld1") \
	X(FLDL2T, "fldl2t") \
	X(FLDL2E, "fldl2e") \
	X(FLDPI, "fldpi") \
	X(FLDLG2, "fldlg2") \
	X(FLDLN2, "fldln2") \
	X(FLDZ, "fldz") \
	X(F2XM1, "f2xm1") \
	X(FYL2X, "fyl2x") \
	X(FPTAN, "fptan") \
	X(FPATAN, "fpatan") \
	X(FXTRACT, "fxtract") \
	X(FPREM1, "fprem1") \
	X(FDECSTP, "fdecstp") \
	X(FINCSTP, "fincstp") \
	X(FPREM, "fprem") \
	X(FYL2XP1, "fyl2xp1") \
	X(FSQRT, "fsqrt") \
	X(FSINCOS, "fsincos") \
	X(FRNDINT, "frndint") \
	X(FSCALE, "fscale") \
	X(FSIN, "fsin") \
	X(FCOS, "fcos") \
	X(FIADD, "fiadd") \
	X(FIMUL, "fimul") \
	X(FICOM, "ficom") \
	X(FICOMP, "ficomp") \
	X(FISUB, "fisub") \
	X(FISUBR, "fisubr") \
	X(FIDIV, "fidiv") \
	X(FIDIVR, "fidivr") \
	X(FCMOVB, "fcmovb") \
	X(FCMOVE, "fcmove") \
	X(FCMOVBE, "fcmovbe") \
	X(FCMOVU, "fcmovu") \
	X(FUCOMPP, "fucompp") \
	X(FILD, "fild") \
	X(FISTTP, "fisttp") \
	X(FIST, "fist") \
	X(FISTP, "fistp") \
	X(FCMOVNB, "fcmovnb") \
	X(FCMOVNE, "fcmovne") \
	X(FCMOVNBE, "fcmovnbe") \
	X(FCMOVNU, "fcmovnu") \
	X(FENI8087_NOP, "feni8087_nop") \
	X(FDISI8087_NOP, "fdisi8087_nop") \
	X(FNCLEX, "fnclex") \
	X(FNINIT, "fninit") \
	X(FSETPM287_NOP, "fsetpm287_nop") \
	X(FUCOMI, "fucomi") \
	X(FCOMI, "fcomi") \
	X(FRSTOR, "frstor") \
	X(FNSAVE, "fnsave") \
	X(FNSTSW, "fnstsw") \
	X(FFREE, "ffree") \
	X(FUCOM, "fucom") \
	X(FUCOMP, "fucomp") \
	X(FADDP, "faddp") \
	X(FMULP, "fmulp") \
	X(FCOMPP, "fcompp") \
	X(FSUBRP, "fsubrp") \
	X(FSUBP, "fsubp") \
	X(FDIVRP, "fdivrp") \
	X(FDIVP, "fdivp") \
	X(FBLD, "fbld") \
	X(FBSTP, "fbstp") \
	X(FFREEP, "ffreep") \
	X(FUCOMIP, "fucomip") \
	X(FCOMIP, "fcomip")

/* MMX, SSE, AVX and AVX-512: legacy names, VEX and EVEX names (with a V), opmask names. */
#define ISA_OPS_VECTOR(X) \
	X(MOVAPS, "movaps") X(MASKMOVQ,"") X(MASKMOVDQU,"") X(VMASKMOVDQU,"") X(VMASKMOVPS,"") X(VMASKMOVPD,"") X(VPMASKMOVD,"") X(VPMASKMOVQ,"") X(VP2INTERSECTD,"") X(VP2INTERSECTQ,"")

#endif
