/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "engine/engine.h"

void engine_kick(struct cpu *c)
{
	cpu_attention(c, ATTN_KICK);
	if (c->wake)
		c->wake(c->wake_opaque);
}
