//! The natural logarithm, bit for bit as kube-scheduler's `math.Log` computes it.
//!
//! Scores are rounded sums of counts multiplied by logarithms, so a single bit can change a score. The platform's own function differs in
//! the last bit for some arguments; Go uses the well-known argument reduction and polynomial of FreeBSD's `e_log.c`, in this order of
//! operations, and without fused multiplication on amd64.

const LN2_HIGH: f64 = f64::from_bits(0x3fe6_2e42_fee0_0000);
const LN2_LOW: f64 = f64::from_bits(0x3dea_39ef_3579_3c76);
/// Coefficients of the polynomial, those of odd powers first.
const ODD: [f64; 4] = [
    f64::from_bits(0x3fe5_5555_5555_5593),
    f64::from_bits(0x3fd2_4924_9422_9359),
    f64::from_bits(0x3fc7_4664_96cb_03de),
    f64::from_bits(0x3fc2_f112_df3e_5244),
];
const EVEN: [f64; 3] = [
    f64::from_bits(0x3fd9_9999_9997_fa04),
    f64::from_bits(0x3fcc_71c5_1d8e_78af),
    f64::from_bits(0x3fc3_9a09_d078_c69f),
];

/// The natural logarithm of a number greater than 0.
pub(super) fn ln(number: u32) -> f64 {
    debug_assert!(number > 0, "the logarithm of 0 is not a weight");
    // number = fraction * 2^exponent with the fraction between 1/2 and 1, then between sqrt(1/2) and sqrt(2).
    let bits = f64::from(number).to_bits();
    let mut fraction = f64::from_bits((bits & 0x000f_ffff_ffff_ffff) | 0.5_f64.to_bits());
    // The exponent of a u32 is between 0 and 31.
    let mut exponent = (bits >> 52) as i32 - 0x3fe;
    if fraction <= std::f64::consts::FRAC_1_SQRT_2 {
        fraction *= 2.0;
        exponent -= 1;
    }
    let exponent = f64::from(exponent);
    let f = fraction - 1.0;
    let s = f / (2.0 + f);
    let s2 = s * s;
    let s4 = s2 * s2;
    let odd = s2 * (ODD[0] + s4 * (ODD[1] + s4 * (ODD[2] + s4 * ODD[3])));
    let even = s4 * (EVEN[0] + s4 * (EVEN[1] + s4 * EVEN[2]));
    let half_square = 0.5 * f * f;
    exponent * LN2_HIGH - ((half_square - (s * (half_square + (odd + even)) + exponent * LN2_LOW)) - f)
}

#[cfg(test)]
mod tests {
    use super::ln;

    /// Arguments, and the bits of Go 1.26's `math.Log` for them on amd64.
    const GO: [(u32, u64); 16] = [
        (2, 0x3fe6_2e42_fefa_39ef),
        (3, 0x3ff1_93ea_7aad_030a),
        (4, 0x3ff6_2e42_fefa_39ef),
        (5, 0x3ff9_c041_f7ed_8d33),
        (7, 0x3fff_2272_ae32_5a57),
        (11, 0x4003_2ee3_b77f_374c),
        (17, 0x4006_aa6b_c1fa_7f7a),
        (29, 0x400a_f038_cbcd_fe1f),
        (53, 0x400f_c328_6822_3cab),
        (102, 0x4012_7ff8_df87_c7bd),
        (502, 0x4018_dfd8_b5b3_e920),
        (1_002, 0x401b_a396_5d40_5f5f),
        (5_002, 0x4021_0901_f6dc_84b9),
        (99_999, 0x4027_069c_db16_e3d9),
        (1_000_002, 0x402b_a18a_dcab_d9bd),
        (2_147_483_647, 0x4035_7cd0_e700_6820),
    ];

    #[test]
    fn single_values_are_those_of_go() {
        for (number, bits) in GO {
            assert_eq!(ln(number).to_bits(), bits, "ln({number})");
        }
    }

    /// All sizes that a cluster may have, as a checksum (FNV-1a over the little-endian bits, from 2 to 1,000,002) that a Go program
    /// computed with `math.Log`.
    #[test]
    fn a_million_values_are_those_of_go() {
        let mut hash = 14_695_981_039_346_656_037_u64;
        for number in 2..=1_000_002 {
            for byte in ln(number).to_bits().to_le_bytes() {
                hash = (hash ^ u64::from(byte)).wrapping_mul(1_099_511_628_211);
            }
        }
        assert_eq!(hash, 0xd721_bdb0_d3e1_491d);
    }
}
