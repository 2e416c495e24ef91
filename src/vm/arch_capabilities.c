/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "base/util.h"
#include "host/vulnerabilities.h"
#include "vm/arch_capabilities.h"

/* IA32_ARCH_CAPABILITIES (SDM 4, table 2-2): what the processor is not affected by. */
#define RDCL_NO BIT64(0)
#define SKIP_L1DFL_VMENTRY BIT64(3)
#define SSB_NO BIT64(4)
#define MDS_NO BIT64(5)
#define IF_PSCHANGE_MC_NO BIT64(6)
#define TAA_NO BIT64(8)
#define SBDR_SSDP_NO BIT64(13)
#define FBSDP_NO BIT64(14)
#define PSDP_NO BIT64(15)
#define GDS_NO BIT64(26)
#define RFDS_NO BIT64(27)
#define ITS_NO BIT64(62)

uint64_t arch_capabilities(bool own_privilege)
{
	static const struct {
		const char *vulnerability;
		uint64_t bits;
	} list[] = {
		{ "meltdown", RDCL_NO | SKIP_L1DFL_VMENTRY },
		{ "spec_store_bypass", SSB_NO },
		{ "mds", MDS_NO },
		{ "itlb_multihit", IF_PSCHANGE_MC_NO },
		{ "tsx_async_abort", TAA_NO },
		{ "mmio_stale_data", SBDR_SSDP_NO | FBSDP_NO | PSDP_NO },
		{ "gather_data_sampling", GDS_NO },
		{ "reg_file_data_sampling", RFDS_NO },
		{ "indirect_target_selection", ITS_NO },
	};
	uint64_t value = own_privilege ? 0 : RDCL_NO | SKIP_L1DFL_VMENTRY;
	for (unsigned i = 0; i < ARRAY_SIZE(list); i++)
		value |= host_not_affected(list[i].vulnerability) ? list[i].bits : 0;
	return value;
}
