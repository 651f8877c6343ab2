//! Half precision floats to f32 and back, as ggml converts them (ggml-impl.h), without a branch or a table.

/// IEEE half precision to f32; exact.
#[inline(always)]
pub(crate) fn f16_to_f32(bytes: [u8; 2]) -> f32 {
    const TO_NORMAL: f32 = f32::from_bits((127 - 112) << 23);
    let w = u32::from(u16::from_le_bytes(bytes)) << 16;
    let magnitude = w & 0x7FFF_0000;
    let normal = f32::from_bits((magnitude >> 3) + (0xE0 << 23)) * TO_NORMAL;
    let subnormal = f32::from_bits((magnitude >> 16) | (126 << 23)) - 0.5;
    let value = if magnitude < 1 << 26 { subnormal } else { normal };
    f32::from_bits(w & 0x8000_0000 | value.to_bits())
}

/// f32 to the nearest half precision float, ties to even; what is too large becomes infinite, and NaN stays NaN, as processors have it.
#[inline(always)]
pub(crate) fn f32_to_f16(value: f32) -> [u8; 2] {
    const TO_INFINITY: f32 = f32::from_bits((127 + 112) << 23);
    const TO_ZERO: f32 = f32::from_bits((127 - 110) << 23);
    let magnitude = value.to_bits() & 0x7FFF_FFFF;
    // The sum with a power of two that is 2^12 units of the result's last place makes the adder round for us.
    let exponent = (magnitude & 0x7F80_0000).max(0x3880_0000);
    let rounded = f32::from_bits(exponent + 0x0780_0000) + value.abs() * TO_INFINITY * TO_ZERO;
    let bits = rounded.to_bits();
    let number = ((bits >> 13) & 0x7C00) + (bits & 0x0FFF);
    let nan = 0x7E00 | (magnitude >> 13) & 0x01FF;
    let half = if magnitude > 0x7F80_0000 { nan } else { number };
    (((value.to_bits() >> 16) & 0x8000 | half) as u16).to_le_bytes()
}
