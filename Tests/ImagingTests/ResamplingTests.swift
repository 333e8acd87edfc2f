// Resizing against checksums of what Pillow makes of the same picture (200 × 5 in two calls, rows first).

import Imaging
import Testing

@Suite struct ResamplingTests {
    static let known: [(Int, Int, Interpolation, UInt64)] = [
        (30, 20, .nearest, 0x6b04_35e6_97d4_fb17),
        (30, 20, .box, 0xe6e1_1b09_3d16_8caa),
        (30, 20, .bilinear, 0x9e97_5283_9584_e1be),
        (30, 20, .bicubic, 0x7b07_a30f_5ea1_c592),
        (128, 90, .nearest, 0x527d_0acf_e0ad_4155),
        (128, 90, .box, 0x527d_0acf_e0ad_4155),
        (128, 90, .bilinear, 0x5fa8_2417_4796_39fe),
        (128, 90, .bicubic, 0x5e6d_974a_0b86_f573),
        (61, 11, .nearest, 0x290b_1240_c04b_b551),
        (61, 11, .box, 0x5c82_617c_4db1_1005),
        (61, 11, .bilinear, 0x465d_762d_1a2a_5be4),
        (61, 11, .bicubic, 0x29f8_f4fc_74b4_d13b),
        (17, 37, .nearest, 0x4c8b_b09a_ad74_025c),
        (17, 37, .box, 0x5ab9_1815_6808_a693),
        (17, 37, .bilinear, 0xb2da_5af2_cb69_3b6d),
        (17, 37, .bicubic, 0x5b09_7695_f5af_23a6),
        (200, 5, .nearest, 0x7d31_5ffe_71e2_1ca5),
        (200, 5, .box, 0x1358_29f2_a4ed_24cb),
        (200, 5, .bilinear, 0xb4c8_ab32_4829_1c13),
        (200, 5, .bicubic, 0x04b0_540f_b852_37fa),
        (1, 1, .nearest, 0xf9ab_a719_a004_2de9),
        (1, 1, .box, 0xa2b0_0919_6ea4_7b1e),
        (1, 1, .bilinear, 0xa2b0_3419_6ea4_c42f),
        (1, 1, .bicubic, 0xa2b0_3419_6ea4_c42f),
        (60, 36, .nearest, 0x5155_8ea8_8c6b_444d),
        (60, 36, .box, 0xb671_365f_8a30_fd28),
        (60, 36, .bilinear, 0xd08d_d13c_f0d1_c2f1),
        (60, 36, .bicubic, 0x644b_9c86_eb02_8117),
    ]

    @Test func equalsPillow() {
        let image = synthetic(61, 37)
        for (width, height, interpolation, sum) in Self.known {
            let resized = image.resized(width: width, height: height, by: interpolation)
            #expect(resized.width == width && resized.height == height)
            #expect(checksum(resized.pixels) == sum, "\(interpolation) to \(width) × \(height)")
        }
    }

    @Test(arguments: Interpolation.allCases)
    func aWindowIsAPartOfTheWhole(_ interpolation: Interpolation) {
        let image = synthetic(61, 37)
        for (width, height) in [(30, 20), (128, 90), (61, 20), (30, 37), (61, 37)] {
            let whole = image.resized(width: width, height: height, by: interpolation)
            let part = image.resized(
                width: width, height: height, by: interpolation, columns: 3..<20, rows: 5..<19)
            #expect(part == whole.cropped(left: 3, top: 5, width: 17, height: 14), "\(width) × \(height)")
        }
    }

    @Test func onePixelMakesAnything() {
        let image = RGBImage(width: 1, height: 1, colour: (3, 200, 77))
        for interpolation in Interpolation.allCases {
            let large = image.resized(width: 5, height: 4, by: interpolation)
            #expect(large == RGBImage(width: 5, height: 4, colour: (3, 200, 77)))
        }
    }
}
