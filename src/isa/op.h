/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef VISOR_ISA_OP_H
#define VISOR_ISA_OP_H

/*
 * One value per mnemonic. Jcc, SETcc and CMOVcc are one operation each; the
 * condition is the low four bits of the opcode byte. String instructions carry
 * no size suffix (MOVS, not MOVSD, which is SSE2's).
 */
/* Executed by cpu/ops_*.c. */
#define ISA_OPS_INTEGER(X) \
	X(ADD, "add") \
	X(OR, "or") \
	X(ADC, "adc") \
	X(SBB, "sbb") \
	X(AND, "and") \
	X(SUB, "sub") \
	X(XOR, "xor") \
	X(CMP, "cmp") \
	X(TEST, "test") \
	X(MOV, "mov") \
	X(LEA, "lea") \
	X(XCHG, "xchg") \
	X(NOP, "nop") \
	X(PUSH, "push") \
	X(POP, "pop") \
	X(PUSHA, "pusha") \
	X(POPA, "popa") \
	X(ENTER, "enter") \
	X(LEAVE, "leave") \
	X(INC, "inc") \
	X(DEC, "dec") \
	X(NEG, "neg") \
	X(NOT, "not") \
	X(MUL, "mul") \
	X(IMUL, "imul") \
	X(DIV, "div") \
	X(IDIV, "idiv") \
	X(ROL, "rol") \
	X(ROR, "ror") \
	X(RCL, "rcl") \
	X(RCR, "rcr") \
	X(SHL, "shl") \
	X(SHR, "shr") \
	X(SAR, "sar") \
	X(SHLD, "shld") \
	X(SHRD, "shrd") \
	X(BT, "bt") \
	X(BTS, "bts") \
	X(BTR, "btr") \
	X(BTC, "btc") \
	X(BSF, "bsf") \
	X(BSR, "bsr") \
	X(BSWAP, "bswap") \
	X(CBW, "cbw") \
	X(CWD, "cwd") \
	X(MOVZX, "movzx") \
	X(MOVSX, "movsx") \
	X(MOVSXD, "movsxd") \
	X(JCC, "j") \
	X(JMP, "jmp") \
	X(CALL, "call") \
	X(RET, "ret") \
	X(LOOP, "loop") \
	X(LOOPE, "loope") \
	X(LOOPNE, "loopne") \
	X(JCXZ, "jcxz") \
	X(SETCC, "set") \
	X(CMOVCC, "cmov") \
	X(CMPXCHG, "cmpxchg") \
	X(CMPXCHG8B, "cmpxchg8b") \
	X(CMPXCHG16B, "cmpxchg16b") \
	X(XADD, "xadd") \
	X(MOVS, "movs") \
	X(CMPS, "cmps") \
	X(STOS, "stos") \
	X(LODS, "lods") \
	X(SCAS, "scas") \
	X(INS, "ins") \
	X(OUTS, "outs") \
	X(XLAT, "xlat") \
	X(AAA, "aaa") \
	X(AAS, "aas") \
	X(AAM, "aam") \
	X(AAD, "aad") \
	X(DAA, "daa") \
	X(DAS, "das") \
	X(LAHF, "lahf") \
	X(SAHF, "sahf") \
	X(SALC, "salc") \
	X(CLC, "clc") \
	X(STC, "stc") \
	X(CMC, "cmc") \
	X(CLD, "cld") \
	X(STD, "std") \
	X(BOUND, "bound") \
	X(UD0, "ud0") \
	X(UD1, "ud1") \
	X(UD2, "ud2") \
	X(POPCNT, "popcnt") \
	X(LZCNT, "lzcnt") \
	X(TZCNT, "tzcnt") \
	X(ANDN, "andn") \
	X(BEXTR, "bextr") \
	X(BLSI, "blsi") \
	X(BLSMSK, "blsmsk") \
	X(BLSR, "blsr") \
	X(BZHI, "bzhi") \
	X(MULX, "mulx") \
	X(PDEP, "pdep") \
	X(PEXT, "pext") \
	X(RORX, "rorx") \
	X(SARX, "sarx") \
	X(SHLX, "shlx") \
	X(SHRX, "shrx") \
	X(ADCX, "adcx") \
	X(ADOX, "adox") \
	X(MOVBE, "movbe") \
	X(CRC32, "crc32") \
	X(RDRAND, "rdrand") \
	X(RDSEED, "rdseed") \
	X(MOVNTI, "movnti") \
	X(PAUSE, "pause") \
	X(PREFETCH, "prefetch") \
	X(PREFETCHW, "prefetchw") \
	X(CLFLUSH, "clflush") \
	X(CLFLUSHOPT, "clflushopt") \
	X(CLWB, "clwb") \
	X(LFENCE, "lfence") \
	X(MFENCE, "mfence") \
	X(SFENCE, "sfence") \
	X(RDPID, "rdpid") \
	X(MOVDIRI, "movdiri") \
	X(MOVDIR64B, "movdir64b") \
	X(SERIALIZE, "serialize") \
	X(CLDEMOTE, "cldemote") \
	X(ENDBR, "endbr64") \
	X(CLZERO, "clzero")

/* Executed by cpu/sys_*.c; the FPU and vector state group by cpu/fpu*.c. */
#define ISA_OPS_SYSTEM(X) \
	X(JMPF, "jmp far") \
	X(CALLF, "call far") \
	X(RETF, "retf") \
	X(IRET, "iret") \
	X(INT, "int") \
	X(INT3, "int3") \
	X(INTO, "into") \
	X(INT1, "int1") \
	X(HLT, "hlt") \
	X(CLI, "cli") \
	X(STI, "sti") \
	X(PUSHF, "pushf") \
	X(POPF, "popf") \
	X(IN, "in") \
	X(OUT, "out") \
	X(MOV_CR, "mov") \
	X(MOV_DR, "mov") \
	X(MOV_SEG, "mov") \
	X(PUSH_SEG, "push") \
	X(POP_SEG, "pop") \
	X(LDS, "lds") \
	X(LES, "les") \
	X(LFS, "lfs") \
	X(LGS, "lgs") \
	X(LSS, "lss") \
	X(LGDT, "lgdt") \
	X(LIDT, "lidt") \
	X(SGDT, "sgdt") \
	X(SIDT, "sidt") \
	X(LLDT, "lldt") \
	X(SLDT, "sldt") \
	X(LTR, "ltr") \
	X(STR, "str") \
	X(LMSW, "lmsw") \
	X(SMSW, "smsw") \
	X(LAR, "lar") \
	X(LSL, "lsl") \
	X(VERR, "verr") \
	X(VERW, "verw") \
	X(ARPL, "arpl") \
	X(CLTS, "clts") \
	X(INVD, "invd") \
	X(WBINVD, "wbinvd") \
	X(WBNOINVD, "wbnoinvd") \
	X(INVLPG, "invlpg") \
	X(INVPCID, "invpcid") \
	X(RDMSR, "rdmsr") \
	X(WRMSR, "wrmsr") \
	X(RDTSC, "rdtsc") \
	X(RDTSCP, "rdtscp") \
	X(RDPMC, "rdpmc") \
	X(CPUID, "cpuid") \
	X(SYSCALL, "syscall") \
	X(SYSRET, "sysret") \
	X(SYSENTER, "sysenter") \
	X(SYSEXIT, "sysexit") \
	X(SWAPGS, "swapgs") \
	X(STAC, "stac") \
	X(CLAC, "clac") \
	X(RDFSBASE, "rdfsbase") \
	X(RDGSBASE, "rdgsbase") \
	X(WRFSBASE, "wrfsbase") \
	X(WRGSBASE, "wrgsbase") \
	X(MONITOR, "monitor") \
	X(MWAIT, "mwait") \
	X(MONITORX, "monitorx") \
	X(MWAITX, "mwaitx") \
	X(XGETBV, "xgetbv") \
	X(XSETBV, "xsetbv") \
	X(VMCALL, "vmcall") \
	X(VMMCALL, "vmmcall") \
	X(RSM, "rsm") \
	X(GETSEC, "getsec") \
	X(FXSAVE, "fxsave") \
	X(FXRSTOR, "fxrstor") \
	X(XSAVE, "xsave") \
	X(XSAVEOPT, "xsaveopt") \
	X(XSAVEC, "xsavec") \
	X(XSAVES, "xsaves") \
	X(XRSTOR, "xrstor") \
	X(XRSTORS, "xrstors") \
	X(LDMXCSR, "ldmxcsr") \
	X(STMXCSR, "stmxcsr") \
	X(VLDMXCSR, "vldmxcsr") \
	X(VSTMXCSR, "vstmxcsr") \
	X(VZEROUPPER, "vzeroupper") \
	X(VZEROALL, "vzeroall") \
	X(EMMS, "emms") \
	X(FWAIT, "fwait")

#include "isa/op_vector.h" /* ISA_OPS_X87, ISA_OPS_VECTOR */

#define ISA_OP_ENUM_(name, text) OP_##name,
enum isa_op {
	OP_INVALID,
	ISA_OPS_INTEGER(ISA_OP_ENUM_)
	ISA_OPS_SYSTEM(ISA_OP_ENUM_)
	ISA_OPS_X87(ISA_OP_ENUM_)
	ISA_OPS_VECTOR(ISA_OP_ENUM_)
	OP_COUNT
};
#undef ISA_OP_ENUM_

#endif
