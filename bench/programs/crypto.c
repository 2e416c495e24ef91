// SPDX-License-Identifier: GPL-2.0-or-later
/* crypto ALGORITHM RECORDS: encrypts or hashes 16 KB records with libcrypto; prints what comes of it. */
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { RECORD = 16384 };
static unsigned char in[RECORD], out[RECORD + 64], tag[16];

static void show(const unsigned char *bytes, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		printf("%02x", bytes[i]);
	printf("\n");
}

static int hash(const EVP_MD *md, long records)
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	unsigned n = 0;
	EVP_MD_CTX *context = EVP_MD_CTX_new();
	if (!context || !EVP_DigestInit_ex(context, md, NULL))
		return 1;
	for (long i = 0; i < records; i++) {
		memcpy(in, &i, sizeof(i));
		EVP_DigestUpdate(context, in, RECORD);
	}
	EVP_DigestFinal_ex(context, digest, &n);
	show(digest, n);
	return 0;
}

/* Each record is encrypted under its own nonce, as TLS does; its tag goes into the next one. */
static int encrypt(const EVP_CIPHER *cipher, long records)
{
	unsigned char key[32] = { 1, 2, 3 }, nonce[12] = { 0 };
	int n = 0;
	EVP_CIPHER_CTX *context = EVP_CIPHER_CTX_new();
	if (!context || !EVP_EncryptInit_ex(context, cipher, NULL, key, NULL))
		return 1;
	for (long i = 0; i < records; i++) {
		memcpy(nonce, &i, sizeof(i));
		if (!EVP_EncryptInit_ex(context, NULL, NULL, NULL, nonce) || !EVP_EncryptUpdate(context, NULL, &n, nonce, 5) ||
		    !EVP_EncryptUpdate(context, out, &n, in, RECORD) || !EVP_EncryptFinal_ex(context, out + n, &n) ||
		    !EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, sizeof(tag), tag))
			return 1;
		memcpy(in, tag, sizeof(tag));
	}
	show(tag, sizeof(tag));
	show(out, 64);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	for (int i = 0; i < RECORD; i++)
		in[i] = (unsigned char)(i * 7 + (i >> 8));
	const EVP_MD *md = EVP_get_digestbyname(argv[1]);
	const EVP_CIPHER *cipher = EVP_get_cipherbyname(argv[1]);
	if (!md && !cipher)
		return 2;
	return md ? hash(md, atol(argv[2])) : encrypt(cipher, atol(argv[2]));
}
