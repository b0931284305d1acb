/*
 * The one function of bcryptprimitives.dll that Rust's standard library imports: wine 8 has no such DLL, and every program ends with 53.
 *
 * For: tests under wine, in a prefix of their own (scripts/test-windows). Not for: Windows, which has the whole of it.
 */

#include <windows.h>

/* advapi32 exports RtlGenRandom under this name only. */
BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T length)
{
    while (length > 0) {
        ULONG part = length < 0x10000000 ? (ULONG)length : 0x10000000;
        if (!SystemFunction036(buffer, part))
            return FALSE;
        buffer += part;
        length -= part;
    }
    return TRUE;
}
