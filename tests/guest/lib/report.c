/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Output and verdict, the same for 64- and 32-bit guests. */
#ifdef __x86_64__
#include "guest.h"
#else
#include "guest32.h"
#endif

int failures;

void print(const char *text)
{
	for (; *text; text++) {
		outb(0xe9, (uint8_t)*text);
		while (!(inb(0x3f8 + 5) & 0x20))
			;
		outb(0x3f8, (uint8_t)*text);
	}
}

void print_hex(uint64_t value)
{
	char text[19] = "0x";
	for (int i = 0; i < 16; i++)
		text[2 + i] = "0123456789abcdef"[value >> (60 - 4 * i) & 15];
	print(text);
}

void guest_exit(int count)
{
	print(count ? "FAILED\n" : "PASSED\n");
	outb(0xf4, count ? 0x11 : 0x10);
	for (;;)
		__asm__ volatile("cli; hlt");
}

static void report(const char *text, const char *file, int line)
{
	failures++;
	print(file);
	print(":");
	char digits[8];
	int n = 7;
	digits[n] = 0;
	do
		digits[--n] = (char)('0' + line % 10);
	while ((line /= 10) && n);
	print(digits + n);
	print(": ");
	print(text);
}

void check_(bool ok, const char *text, const char *file, int line)
{
	if (ok)
		return;
	report(text, file, line);
	print(" is false\n");
}

void check_equal_(uint64_t got, uint64_t want, const char *text, const char *file, int line)
{
	if (got == want)
		return;
	report(text, file, line);
	print(" is ");
	print_hex(got);
	print(", not ");
	print_hex(want);
	print("\n");
}
