// Where objects are, as somebody else says it: masks in PNG files, boxes in COCO's JSON or Pascal VOC's XML.

import Files
import Imaging
import Text

/// Why it is not known where an object is, as a clause.
package struct NoObject: Error, Sendable {
    package let words: String
    init(_ words: String) { self.words = words }
}

/// A box around an object, in pixels of the upright photograph.
package struct ObjectBox: Sendable, Equatable {
    package let left: Double, top: Double, right: Double, bottom: Double
    /// What the file calls it.
    package let name: String?

    /// - Returns: nil if the sides are no finite numbers in that order.
    init?(left: Double, top: Double, right: Double, bottom: Double, name: String?) {
        guard left.isFinite, top.isFinite, right.isFinite, bottom.isFinite, left <= right, top <= bottom
        else { return nil }
        (self.left, self.top, self.right, self.bottom, self.name) = (left, top, right, bottom, name)
    }

    /// Whether a place lies in the box: its left and upper edges belong to it, the others to what lies beyond, so that each place is in one of two boxes that touch.
    func contains(_ x: Double, _ y: Double) -> Bool { x >= left && x < right && y >= top && y < bottom }
}

/// A mask as somebody drew it, of the size of its photograph.
package struct DrawnMask: Sendable {
    package let width: Int, height: Int
    /// Row by row: what is not black, or if the file has opacity, what is at least half opaque.
    package let isObject: [Bool]

    /// - Throws: `ExplainError` of kind `input`.
    package init(
        decoding bytes: [UInt8], name: String,
        admission: RGBImage.Admission = { _ throws(ImageError) in }
    ) throws(ExplainError) {
        // Of 16 bits the upper eight would be read, and small numbers of objects be lost.
        guard bytes.count < 26 || bytes[24] != 16 else {
            throw ExplainError(
                .input,
                "\(name): The mask has 16 bits for each number; a mask is a PNG file of 8 bits or fewer.")
        }
        let image: RGBImage
        do { image = try RGBImage(decoding: bytes, name: name, admission: admission) } catch {
            throw ExplainError(error, .input)
        }
        (width, height) = (image.width, image.height)
        if let opacity = image.opacity {
            isObject = opacity.map { $0 >= 128 }
        } else {
            isObject = (0..<width * height).map { i in
                image.pixels[3 * i..<3 * i + 3].contains { $0 != 0 }
            }
        }
    }

    /// Whether a place lies on the object; a pixel has its left and upper edges, as a box has.
    func contains(_ x: Double, _ y: Double) -> Bool {
        let (column, row) = (Int(x.rounded(.down)), Int(y.rounded(.down)))
        return (0..<width).contains(column) && (0..<height).contains(row)
            && isObject[row * width + column]
    }
}

/// Where the objects of pictures are.
package enum ObjectSource: Sendable {
    /// A folder of PNG files with the names of the pictures: what is not black, or if it has opacity not transparent, is the object. `cat.281.png` is
    /// that of class 281 only, `cat.png` that of all.
    case masks(folder: String)
    case boxes(BoxFile)

    /// Of all that says where objects are: the names and bytes of masks, or the bytes of the files of boxes.
    package func digest() throws -> String {
        switch self {
        case .boxes(let file): return file.digest
        case .masks(let folder):
            var parts = ""
            func add(_ folder: String, _ front: String) throws {
                for name in FileName.sorted(Folder.names(folder) ?? []) {
                    let path = Paths.join(folder, name)
                    switch FileKind(path) {
                    case .folder where name.unicodeScalars.first != ".": try add(path, front + name + "/")
                    case .file where Paths.fileExtension(name) == "png":
                        do { parts += front + name + SHA256.digits(of: try InputFile.contents(path)) } catch {
                            throw ExplainError(error, .input)
                        }
                    default: break
                    }
                }
            }
            try add(folder, "")
            return SHA256.digits(of: Array(parts.utf8))
        }
    }

    /// Finds the objects of a picture.
    /// - Parameters:
    ///   - stem: the picture's name in results, with folders.
    ///   - resolver: knows the network's classes by their names.
    package func objects(
        of image: ImageExplanation, stem: String, _ questions: Questions, _ resolver: PictureClasses.Resolver
    ) throws -> PictureObjects {
        guard let size = image.size, let region = image.view?.region else {
            return PictureObjects(.nothing(NoObject("an array is no photograph on which anything could lie")))
        }
        let frame = ViewFrame(size: size, region: region, height: questions.height, width: questions.width)
        switch self {
        case .masks(let folder):
            let names = [stem, Paths.stem(image.name)]
            return PictureObjects(.masks(folder: folder, names: names, frame))
        case .boxes(let file):
            if let stated = file.size(of: image.name), stated != size {
                throw ExplainError(
                    .input,
                    "\(image.name): The picture is \(size.width)×\(size.height) upright, and the file of boxes says \(stated.width)×\(stated.height), so its boxes are of another one."
                )
            }
            guard let boxes = file.boxes(of: image.name) else {
                return PictureObjects(.nothing(NoObject("the file of boxes does not name the picture")))
            }
            return PictureObjects(
                .boxes(boxes.map { ($0, $0.name.flatMap { resolver.trueClass($0).index }) }, frame))
        }
    }
}

/// Which part of a photograph the network sees.
struct ViewFrame: Sendable {
    let size: (width: Int, height: Int)
    let region: Region
    let height: Int, width: Int

    /// The mask of what `isInside` says of places in the photograph, each that of the centre of a pixel of the view.
    func mask(_ isInside: (_ x: Double, _ y: Double) -> Bool) -> ObjectMask? {
        var inside = [Bool](repeating: false, count: height * width)
        for v in 0..<height {
            let y = region.y + (Double(v) + 0.5) * region.height / Double(height)
            for u in 0..<width {
                let x = region.x + (Double(u) + 0.5) * region.width / Double(width)
                inside[v * width + u] = isInside(x, y)
            }
        }
        return ObjectMask(inside, height: height, width: width)
    }
}

/// The objects of one picture.
package struct PictureObjects {
    enum Source {
        case nothing(NoObject)
        case masks(folder: String, names: [String], ViewFrame)
        case boxes([(box: ObjectBox, classIndex: Int?)], ViewFrame)
    }
    private let source: Source
    init(_ source: Source) { self.source = source }

    /// The object of a class.
    /// - Throws: `ExplainError` of kind `input` if a mask cannot be read, or has another size than the picture.
    package func mask(ofClass index: Int, taking take: (String) throws -> Void = { _ in }) throws -> Result<
        ObjectMask, NoObject
    > {
        func seen(_ mask: ObjectMask?) -> Result<ObjectMask, NoObject> {
            mask.map(Result.success) ?? .failure(NoObject("the network does not see any of the object"))
        }
        switch source {
        case .nothing(let reason): return .failure(reason)
        case .boxes(let boxes, let frame):
            // Names that are none of the network's classes say nothing about which is meant.
            let isNamed = boxes.contains { $0.classIndex != nil }
            let own = isNamed ? boxes.filter { $0.classIndex == index } : boxes
            guard !own.isEmpty else { return .failure(NoObject("no box is of the class that is explained")) }
            return seen(frame.mask { x, y in own.contains { $0.box.contains(x, y) } })
        case .masks(let folder, let names, let frame):
            for name in names.flatMap({ ["\($0).\(index).png", "\($0).png"] }) {
                let path = Paths.join(folder, name)
                guard FileKind(path) == .file else { continue }
                if !name.hasPrefix(names[0] + ".") || !names[0].contains("/") { try take(path) }
                let bytes: [UInt8]
                do { bytes = try InputFile.contents(path) } catch { throw ExplainError(error, .input) }
                let mask = try DrawnMask(decoding: bytes, name: path)
                guard (mask.width, mask.height) == (frame.size.width, frame.size.height) else {
                    throw ExplainError(
                        .input,
                        "\(path): The mask is \(mask.width)×\(mask.height), and its picture \(frame.size.width)×\(frame.size.height); a mask has the size of its picture."
                    )
                }
                return seen(frame.mask(mask.contains))
            }
            return .failure(NoObject("the folder of masks has none for the picture"))
        }
    }
}

/// Boxes by the names of pictures.
package struct BoxFile: Sendable {
    private var byPath: [String: [ObjectBox]] = [:]
    private var sizes: [String: (width: Int, height: Int)] = [:]
    /// Of the bytes of all files.
    package private(set) var digest = ""
    /// Names without folders, of which one may stand for several pictures.
    private var byName: [String: [String]] = [:]

    /// Reads COCO's JSON (`images`, `annotations`, `categories`), a file of Pascal VOC's XML, or a folder of those.
    /// - Throws: `ExplainError` of kind `settings`.
    package init(path: String) throws {
        switch FileKind(path) {
        case .missing: throw ExplainError(.settings, "The file of boxes '\(path)' is not there.")
        case .folder:
            let names = (Folder.names(path) ?? []).filter { Paths.fileExtension($0) == "xml" }
            guard !names.isEmpty else {
                throw ExplainError(.settings, "The folder of boxes '\(path)' holds no XML files.")
            }
            for name in FileName.sorted(names) {
                let file = Paths.join(path, name)
                try add(.voc, bytes(file), file)
            }
        case .file, .other:
            try add(Paths.fileExtension(path) == "xml" ? .voc : .coco, bytes(path), path)
        }
        end()
    }

    /// How a file says it: COCO's JSON, or Pascal VOC's XML.
    package enum Format: Sendable { case coco, voc }

    /// Reads the bytes of a file; `name` is what errors call it.
    package init(_ format: Format, _ bytes: [UInt8], name: String) throws {
        try add(format, bytes, name)
        end()
    }

    /// All boxes of all pictures, in no order.
    package var boxes: [ObjectBox] { byPath.values.flatMap(\.self) }

    private mutating func add(_ format: Format, _ bytes: [UInt8], _ name: String) throws {
        digest += SHA256.digits(of: bytes)
        switch format {
        case .coco: try addJSON(bytes, name)
        case .voc: try addXML(bytes, name)
        }
    }

    private mutating func end() {
        digest = SHA256.digits(of: Array(digest.utf8))
        for path in byPath.keys { byName[Paths.name(path), default: []].append(path) }
    }

    func boxes(of picture: String) -> [ObjectBox]? { path(of: picture).flatMap { byPath[$0] } }

    /// The size that the file says a picture has.
    func size(of picture: String) -> (width: Int, height: Int)? { path(of: picture).flatMap { sizes[$0] } }

    /// The name that a picture has in the file: its path, or that of which one is the end of the other.
    private func path(of picture: String) -> String? {
        if byPath[picture] != nil { return picture }
        let ends = (byName[Paths.name(picture)] ?? []).filter {
            picture.hasSuffix("/" + $0) || $0.hasSuffix("/" + picture)
        }
        return ends.count == 1 ? ends[0] : nil
    }

    private func bytes(_ path: String) throws -> [UInt8] {
        do { return try InputFile.contents(path) } catch { throw ExplainError(error, .settings) }
    }

    private mutating func addJSON(_ bytes: [UInt8], _ path: String) throws {
        func failed(_ reason: String) -> ExplainError {
            ExplainError(.settings, "The file of boxes '\(path)': \(reason)")
        }
        let document: JSON
        do {
            document = try JSON(reading: bytes)
        } catch {
            throw failed("It is neither XML (.xml) nor JSON: \(error).")
        }
        guard case .array(let images)? = document[key: "images"],
            case .array(let annotations)? = document[key: "annotations"]
        else { throw failed("It lacks the lists “images” and “annotations” that COCO's files have.") }
        var names: [Int: String] = [:]
        if case .array(let categories)? = document[key: "categories"] {
            for category in categories {
                if let id = category[key: "id"]?.asInt { names[id] = category[key: "name"]?.asString }
            }
        }
        var paths: [Int: String] = [:]
        for image in images {
            guard let id = image[key: "id"]?.asInt, let file = image[key: "file_name"]?.asString else {
                throw failed("An image lacks its id or its file_name.")
            }
            guard paths.updateValue(file, forKey: id) == nil else {
                throw failed("Two images have the id \(id).")
            }
            byPath[file] = []
            if let width = image[key: "width"]?.asInt, let height = image[key: "height"]?.asInt {
                sizes[file] = (width, height)
            }
        }
        for annotation in annotations {
            guard let id = annotation[key: "image_id"]?.asInt, let file = paths[id] else {
                throw failed("An annotation is of an image that the file does not name.")
            }
            var sides: [Double] = []
            if case .array(let numbers)? = annotation[key: "bbox"] {
                sides = numbers.compactMap { Self.number($0) }
                if sides.count != numbers.count { sides = [] }
            }
            guard sides.count == 4, sides[2] >= 0, sides[3] >= 0,
                let box = ObjectBox(
                    left: sides[0], top: sides[1], right: sides[0] + sides[2],
                    bottom: sides[1] + sides[3],
                    name: annotation[key: "category_id"]?.asInt.flatMap { names[$0] })
            else { throw failed("An annotation of \(shortened(file)) has no box of four numbers.") }
            byPath[file]!.append(box)
        }
    }

    private static func number(_ value: JSON) -> Double? {
        switch value {
        case .int(let number): Double(number)
        case .double(let number) where number.isFinite: number
        default: nil
        }
    }

    private mutating func addXML(_ bytes: [UInt8], _ path: String) throws {
        let (file, size, boxes) = try VOCReader.read(bytes, path)
        if let size { sizes[file] = size }
        byPath[file, default: []] += boxes
    }
}
