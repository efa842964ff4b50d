import { referenceKernels } from "../../../src/decoding/fuse.ts";
import { testDecisions } from "./decisions.case.ts";
import { testDynamic } from "./dynamic.case.ts";
import { testVectors } from "./vectors.case.ts";

testVectors(referenceKernels, 0);
testDynamic(referenceKernels, 0);
testDecisions(referenceKernels, 0);
