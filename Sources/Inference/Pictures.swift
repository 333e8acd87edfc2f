// Whether the pictures of a batch stay apart: what a network makes of one must not depend on the others.
//
// A walk over the network that knows of each value along which axis its pictures lie. Transformers move that axis about, and put it on one
// axis with heads or windows, which a number of the elements behind each picture tells apart: [197, N, 768] or [N 12, 197, 64]. What
// an operator reaches along that axis would join pictures.

import Kernels

/// Where the pictures of a value lie: place i along an axis belongs to picture (i / inner) mod N.
private struct PictureAxis: Equatable {
    var axis: Int
    var inner = 1
}

extension Network {
    /// Whether it is sure that nothing on the way from what a pass is fed to the score joins pictures, or treats them by their number or their
    /// place; else it has to be tried.
    package func keepsPicturesApart(_ spec: PassSpec) throws -> Bool {
        let source = spec.feed ?? inputName
        let own = try sketch(batch: spec.batch, height: spec.height, width: spec.width)
        guard own.shape(source)?.dims.first == spec.batch,
            let other = try? sketch(batch: spec.batch + 1, height: spec.height, width: spec.width)
        else {
            return false
        }
        var walk = PictureWalk(plan: own, places: [source: PictureAxis(axis: 0)])
        let path = Set(path(from: [source]))
        for (i, node) in nodes.enumerated() where node.merged == nil {
            if path.contains(i) {
                guard walk.take(node) else { return false }
            } else {
                walk.compare(node, other)
            }
        }
        return walk.places[logitsName] == PictureAxis(axis: 0) && own.shape(logitsName)?.dims[0] == spec.batch
    }
}

private struct PictureWalk {
    let plan: Planner
    /// Of the values that are made of pictures.
    var places: [String: PictureAxis]
    /// Values that are made of no picture, but follow from how many there are.
    private var counting: Set<String> = []

    init(plan: Planner, places: [String: PictureAxis]) { (self.plan, self.places) = (plan, places) }

    /// Notes whether what a node makes, of no picture, is another for another batch.
    mutating func compare(_ node: NetworkNode, _ other: Planner) {
        for name in node.makes {
            if case .host(let mine)? = plan.operand(name), case .host(let theirs)? = other.operand(name) {
                if mine.shape != theirs.shape || (try? mine.floats()) != (try? theirs.floats()) {
                    counting.insert(name)
                }
            } else if plan.shape(name) != other.shape(name) || node.inputs.contains(where: counting.contains)
            {
                counting.insert(name)
            }
        }
    }

    /// Whether what a node reads beside pictures is the same for all of them.
    private func isEven(_ node: NetworkNode, _ before: Shape, _ place: PictureAxis) -> Bool {
        var countsMatter = true
        switch node.operation.reach {
        // What follows from the number of pictures is a shape there.
        case .rowMajor: return true
        // Weights have a first axis of another kind.
        case .behindFirst where node.operation is any LinearOperator: return true
        // A resizing may be told the shape of all.
        case .behindFirst: countsMatter = false
        case .place: if case .rearranges = node.operation.role { return true }
        default: break
        }
        for name in node.inputs where !name.isEmpty && places[name] == nil {
            if countsMatter, counting.contains(name) { return false }
            guard case .host(let tensor)? = plan.operand(name) else { continue }
            // Its numbers along the pictures' axis, if it has that.
            let axis = place.axis + tensor.shape.rank - before.rank
            guard axis >= 0, tensor.shape.rank > 0, tensor.shape.dims[axis] == before.dims[place.axis] else {
                continue
            }
            let inner = tensor.shape.dims[(axis + 1)...].reduce(1, *)
            let run = inner * tensor.shape.dims[axis]
            guard let numbers = try? tensor.floats(),
                numbers.indices.allSatisfy({ numbers[$0] == numbers[$0 / run * run + $0 % inner] })
            else { return false }
        }
        return true
    }

    /// Notes where the pictures lie in what a node makes.
    /// - Returns: whether that is known.
    mutating func take(_ node: NetworkNode) -> Bool {
        let read = node.inputs.compactMap { name -> (shape: Shape, place: PictureAxis)? in
            guard let place = places[name], let shape = plan.shape(name) else { return nil }
            return (shape, place)
        }
        guard node.inputs.allSatisfy({ places[$0] == nil || plan.shape($0) != nil }), let first = read.first,
            isEven(node, first.shape, first.place)
        else { return false }
        for name in node.outputs where !name.isEmpty {
            guard let shape = plan.shape(name) else { continue }
            guard let place = place(node, read, shape), place.axis < shape.rank,
                shape.dims[place.axis] % (plan.batch * place.inner) == 0
            else { return false }
            places[name] = place
        }
        return true
    }

    /// Where the pictures lie in an output of a shape; nil if they meet, or nobody knows.
    /// - Parameter read: the inputs that are made of pictures.
    private func place(_ node: NetworkNode, _ read: [(shape: Shape, place: PictureAxis)], _ shape: Shape)
        -> PictureAxis?
    {
        let (before, place) = read[0]
        switch node.operation.reach {
        case .anywhere: return nil
        case .place: return broadcast(read, to: shape)
        case .behindFirst:
            return read.allSatisfy {
                $0.place.axis == 0 && $0.place == place && $0.shape.dims[0] == shape.dims.first
            }
                ? place : nil
        case .rowMajor: return reshaped(place, from: before, to: shape)
        case .ordered(let order):
            guard let order = try? order(before.rank), let axis = order.firstIndex(of: place.axis) else {
                return nil
            }
            return PictureAxis(axis: axis, inner: place.inner)
        case .along(let axes):
            guard let axes = try? axes(before, node.inputs.map(plan.operand)), !axes.contains(place.axis),
                read.allSatisfy({ $0.shape.rank == before.rank && $0.place == place })
            else { return nil }
            var after = place
            if shape.rank == before.rank - axes.count {
                after.axis -= axes.count { $0 < place.axis }
            } else if shape.rank != before.rank {
                // One axis has become several.
                guard axes.count == 1 else { return nil }
                if axes[0] < place.axis { after.axis += shape.rank - before.rank }
            }
            return shape.dims[after.axis] == before.dims[place.axis] ? after : nil
        case .product(let right): return product(node, right: right, read, shape)
        }
    }

    /// Of several inputs that are broadcast.
    private func broadcast(_ read: [(shape: Shape, place: PictureAxis)], to shape: Shape) -> PictureAxis? {
        let all = read.map {
            PictureAxis(axis: $0.place.axis + shape.rank - $0.shape.rank, inner: $0.place.inner)
        }
        guard all.allSatisfy({ $0 == all[0] }), shape.dims.indices.contains(all[0].axis),
            read.allSatisfy({ $0.shape.dims[$0.place.axis] == shape.dims[all[0].axis] })
        else { return nil }
        return all[0]
    }

    /// The axis of the new shape within which the pictures lie.
    private func reshaped(_ place: PictureAxis, from before: Shape, to after: Shape) -> PictureAxis? {
        let inner = place.inner * before.dims[(place.axis + 1)...].reduce(1, *)
        var behind = 1
        for axis in after.dims.indices.reversed() {
            let extent = after.dims[axis]
            if inner % behind == 0, extent % (plan.batch * (inner / behind)) == 0 {
                return PictureAxis(axis: axis, inner: inner / behind)
            }
            behind *= extent
        }
        return nil
    }

    /// - Parameter right: which input is the second matrix.
    private func product(
        _ node: NetworkNode, right: Int, _ read: [(shape: Shape, place: PictureAxis)], _ shape: Shape
    ) -> PictureAxis? {
        // The axis that is summed, and columns that are pictures, join them.
        for (index, last) in [(0, 1), (right, 2)] {
            guard node.inputs.indices.contains(index), let matrix = plan.shape(node.inputs[index]),
                matrix.rank >= 2
            else { return nil }
            if let place = places[node.inputs[index]], place.axis >= matrix.rank - last { return nil }
        }
        return broadcast(read, to: shape)
    }
}
