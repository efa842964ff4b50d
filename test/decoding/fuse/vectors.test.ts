import { referenceKernels } from "../../../src/decoding/fuse.ts";
import { testVectors } from "./vectors.case.ts";

testVectors(referenceKernels, 0);
